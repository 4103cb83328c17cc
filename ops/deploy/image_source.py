"""The source of the image: the folder with `deploy/Dockerfile`, and a tag that changes with every file of the image."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What deploy/Dockerfile copies, and the Dockerfile itself. .dockerignore and .gcloudignore let nothing else pass.
_PARTS = ("deploy/Dockerfile", "deploy/requirements.lock", "main.py", "shared", "functions")


@dataclass(frozen=True)
class ImageSource:
    """Where the image is built from, as a command of the current folder names it, and the tag of its content."""

    folder: Path
    tag: str

    @property
    def context(self) -> str:
        """The folder as an argument."""
        return "." if self.folder == Path() else str(self.folder)

    def path(self, name: str) -> str:
        """A file of the folder as an argument."""
        return str(self.folder / name)


def find_source(current: Path, root: Path = ROOT) -> ImageSource | None:
    """The source, or None where Hangar was installed without it."""
    if not (root / "deploy" / "Dockerfile").is_file():
        return None
    folder = Path() if current.resolve() == root else root
    return ImageSource(folder, f"hangar-{hash_source(root)}")


def hash_source(root: Path) -> str:
    """Twelve hex digits over names and contents of every file that goes into the image."""
    digest = hashlib.sha256()
    for part in _PARTS:
        top = root / part
        files = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        for path in files:
            if "__pycache__" not in path.parts:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:12]
