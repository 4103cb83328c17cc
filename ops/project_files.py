"""The two files of an installation in the operator's folder: `hangar.toml` (no secret) and `.env.hangar` (secrets, mode 0600).

`.env.hangar` holds one NAME=value a line. A value with a character that a shell would change is in single quotes, so that
the shell, Docker Compose and Hangar read the same file alike.
"""

import contextlib
import fcntl
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ENV_FILE = Path(".env.hangar")
PROJECT_FILE = Path("hangar.toml")
_NAME = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)
_EXPORT = re.compile(r"^export\s+")
_QUOTED = re.compile(r"(?P<quote>['\"])(?P<text>.*?)(?P=quote)(?:\s+#.*)?")
_COMMENT = re.compile(r"(?:^|\s+)#.*")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+=,-]*", re.ASCII)
_HEAD = """\
# Secrets of one Hangar installation. Keep this file out of git, images and chats. `hangar init` writes it.
"""


class ProjectFileError(Exception):
    """A file cannot be read or written. The message names the file and the line, never a value."""


@contextlib.contextmanager
def hold_folder(folder: Path = Path()) -> Iterator[None]:
    """One command at a time works on the two files of a folder. Raises ProjectFileError at once if another one does."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ProjectFileError(f"this folder cannot be read: {error.strerror}") from None
    try:
        # Some network file systems lock no folder. There nothing but the operator keeps two commands apart.
        with contextlib.suppress(OSError):
            _lock(handle)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ProjectFileError(
            "another `hangar init` or `hangar deploy` is at work in this folder. Run this one when it has ended"
        ) from None


def read_env_file(path: Path = ENV_FILE) -> dict[str, str]:
    """Names and values of the file, or nothing if there is none. Raises ProjectFileError."""
    found: dict[str, str] = {}
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        text = _EXPORT.sub("", line.strip())
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise ProjectFileError(
                f"{path}, line {number}: expected NAME=value with a name in capital letters and no space before the ="
            )
        value = value.strip()
        if value[:1] in ("'", '"') and value[0] not in value[1:]:
            raise ProjectFileError(f"{path}, line {number}: the value of {name} has a quote at one end only")
        found[name] = _unquote(value)
    return found


def add_to_env_file(values: Mapping[str, str], path: Path = ENV_FILE) -> None:
    """Set these values and keep every other line. The file has mode 0600 before it holds anything.

    Raises ProjectFileError; the file is then as it was.
    """
    lines = _read_text(path).removesuffix("\n").split("\n") if path.exists() else _HEAD.splitlines()
    left = {name: f"{name}={_quote(name, value)}" for name, value in values.items()}
    for number in reversed(range(len(lines))):  # of two lines with one name the later one counts
        name = _EXPORT.sub("", lines[number].strip()).partition("=")[0].strip()
        if name in left:
            lines[number] = left.pop(name)
    write_private(path, "\n".join([*lines, *left.values()]) + "\n")


def _read_text(path: Path) -> str:
    """The text of the file without the mark that editors of Windows put in front, or nothing if there is no file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise ProjectFileError(
            f"{path} cannot be read: it is not text in UTF-8. Save it again with that encoding"
        ) from None
    except OSError as error:
        raise ProjectFileError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None


def write_private(path: Path, text: str) -> None:
    """Replace the file as a whole, readable by its owner only."""
    _replace(path, text, 0o600)


def write_public(path: Path, text: str) -> None:
    """Replace the file as a whole, readable by everybody."""
    _replace(path, text, 0o644)


def _replace(path: Path, text: str, mode: int) -> None:
    target = path.resolve()  # a symbolic link stays, and what it names is replaced
    if target.exists() and not target.is_file():
        raise ProjectFileError(f"{path} cannot be written: it is no file")
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".env.hangar.")  # ignored as .env.hangar itself is
    except OSError as error:
        raise ProjectFileError(f"{path} cannot be written: {error.strerror}") from None
    try:
        os.fchmod(handle, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(target)
    except OSError as error:
        raise ProjectFileError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        Path(name).unlink(missing_ok=True)


def read_project_file(path: Path = PROJECT_FILE) -> dict[str, Any]:
    """The tables of `hangar.toml`, or nothing if there is none. Raises ProjectFileError."""
    try:
        return tomllib.loads(_read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ProjectFileError(f"{path} is not valid TOML: {error}") from None


def read_text(document: Mapping[str, Any], *keys: str, path: Path = PROJECT_FILE) -> str | None:
    """The text at this place of `hangar.toml`, or None. Raises ProjectFileError if it is no text."""
    found: Any = document
    for number, key in enumerate(keys):
        if not isinstance(found, Mapping):
            raise ProjectFileError(f"{path}: {'.'.join(keys[:number])} must be a table")
        found = found.get(key)
        if found is None:
            return None
    if not isinstance(found, str):
        raise ProjectFileError(f"{path}: {'.'.join(keys)} must be a text in quotes")
    return found.strip() or None


def find_unfit(name: str, value: str) -> str | None:
    """Why `.env.hangar` cannot hold this value, as a sentence without the value. None if it can."""
    if not re.search(r"['\x00-\x1f\x7f]", value):
        return None
    return f"{name} holds a quote, a line break or a control character, which {ENV_FILE} cannot hold. In a URL write ' as %27"


def _quote(name: str, value: str) -> str:
    if problem := find_unfit(name, value):
        raise ProjectFileError(problem)
    return value if _PLAIN.fullmatch(value) else f"'{value}'"


def _unquote(value: str) -> str:
    """The value without its quotes and without a comment behind it, as the shell and Docker Compose read it."""
    if quoted := _QUOTED.fullmatch(value):
        return quoted["text"]
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return _COMMENT.sub("", value)
