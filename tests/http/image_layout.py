"""Builds the file tree of `docker build -f deploy/Dockerfile .` in a folder, so that tests need no Docker engine.

The instructions are carried out in order, as written: COPY through .dockerignore, RUN in the shell of a new virtual environment,
CMD unchanged. Only the base image and the compilation of its standard library are left out.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
UV = Path(sys.executable).parent / "uv"
# Named pip, so that the Dockerfile's commands run unchanged; uv takes the same options and installs in a second.
_PIP = '#!/bin/sh\nexec "$UV" pip "$@"\n'
_OUT_OF_REACH = re.compile(
    r"error sending request|dns error|failed to lookup|[Cc]onnect|timed out|[Nn]etwork", re.ASCII
)


def read_instructions(dockerfile=DOCKERFILE):
    """Each instruction as (word, rest), with continued lines joined and comments dropped."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def is_sent(path, patterns):
    """Whether Docker sends this file of the context. The last pattern that matches it or a folder above it decides."""
    sent = True
    for pattern in patterns:
        wanted = pattern.removeprefix("!").removeprefix("**/")
        above = [str(path), *(str(folder) for folder in path.parents if folder.name)]
        fits = (
            any(fnmatch.fnmatchcase(part, wanted) for part in path.parts)
            if "**/" in pattern
            else any(fnmatch.fnmatchcase(name, wanted) for name in above)
        )
        if fits:
            sent = pattern.startswith("!")
    return sent


def copy_context(source, target):
    """Copy the files of `source` that .dockerignore keeps, as far as the instructions could use them."""
    ignore = (source / ".dockerignore").read_text().splitlines()
    patterns = [line for line in ignore if line and not line.startswith("#")]
    for top in source.iterdir():
        if top.name in (".venv", ".git", ".hangar"):  # large; their names alone show that they are left out
            assert not is_sent(Path(top.name) / "file", patterns)
            continue
        for path in [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]:
            inside = path.relative_to(source)
            if is_sent(inside, patterns):
                (target / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / inside)


@dataclass
class Layout:
    """The image's file tree below `root`, its environment, and its start command."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None
    user: str = "0"
    command: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def bin(self):
        return self.root / "venv" / "bin"

    def environ(self, **more):
        return {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(self.root / "home"), **self.env, **more}

    def files(self):
        """Every file of /app and of the installed packages."""
        return {path for path in self.root.rglob("*") if path.is_file() and "context" not in path.parts}

    def run(self, *command, **more):
        """Run a command in the image's folder and environment, and wait for its end."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environ(**more), capture_output=True, text=True, timeout=170, check=False
        )


def build(root):
    """Carry out the Dockerfile below `root`. Skips the test with a reason if the package index cannot be reached."""
    layout = Layout(root)
    context = root / "context"
    copy_context(ROOT, context)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
    (layout.bin / "pip").write_text(_PIP)
    (layout.bin / "pip").chmod(0o755)
    for word, rest in read_instructions():
        follow(layout, context, word, rest)
    shutil.rmtree(context)
    (layout.bin / "pip").unlink()
    return layout


def follow(layout, context, word, rest):
    if word == "ENV":
        layout.env |= dict(re.findall(r"(\w+)=(\S+)", rest.replace("=/", f"={layout.root}/")))
    elif word == "WORKDIR":
        layout.folder = layout.root / rest.removeprefix("/")
        layout.folder.mkdir(parents=True)
    elif word == "COPY":
        source, target = rest.split()
        copy = shutil.copytree if (context / source).is_dir() else shutil.copyfile
        (layout.folder / target).parent.mkdir(parents=True, exist_ok=True)
        copy(context / source, layout.folder / target)
    elif word == "RUN" and 'get_path("stdlib")' in rest:
        layout.skipped.append(rest)  # these files belong to the base image; here they would be those of this computer
    elif word == "RUN":
        # This computer's proxy and certificates are needed to fetch packages; the image's own variables win.
        ours = {"UV": str(UV), "VIRTUAL_ENV": str(layout.root / "venv"), "PATH": layout.environ()["PATH"]}
        ended = layout.run("sh", "-c", rest, **{**os.environ, **layout.env, **ours})
        skip_when_unreachable(ended)
        assert ended.returncode == 0, f"RUN {rest}\n{ended.stdout}{ended.stderr}"
    elif word == "USER":
        layout.user = rest
    elif word == "CMD":
        layout.command = json.loads(rest)
    else:
        assert word in ("FROM", "EXPOSE"), f"the test cannot carry out {word}"


def skip_when_unreachable(ended):
    """Skip the test if this installer run failed because there is no network, and for no other reason."""
    if ended.returncode and _OUT_OF_REACH.search(ended.stderr):
        pytest.skip("the package index cannot be reached, and the packages are not cached here")
