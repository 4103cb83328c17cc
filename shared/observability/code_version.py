"""Which code a process runs, so that `hangar doctor` can tell whether a deployment took effect."""

import functools
import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("shared", "functions")  # what the image of a function holds
HEADER = "Hangar-Code"


@functools.lru_cache(maxsize=1)
def fingerprint_code(root: Path = ROOT) -> str:
    """Twelve hexadecimal digits from the name and content of every file of the functions' packages.

    The same code has the same digits everywhere. Bytecode does not count. It reads some hundred files, so it is computed only
    when somebody asks.
    """
    content = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
            if path.is_file() and "__pycache__" not in path.parts:
                content.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:12]
