"""The SQL files of Hangar's schema: where they are, and the checksum of each."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_HERE = Path(__file__).parent
# In an installed package, where tools/build_package.py puts them; else in the checkout.
_FOLDERS = (_HERE / "schema", _HERE.parents[1] / "supabase" / "migrations")
_NAME = re.compile(r"(\d{14})_(\w+)\.sql")
_RELATION = re.compile(r"^create (?:table|view|type) public\.(\w+)", re.MULTILINE)
_PROCEDURE = re.compile(
    r"^create (?:or replace )?function public\.(fly_\w+)\(.*?\bas (\$\w*\$)(.*?)\2", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class SchemaFile:
    """One file. `text` has plain line ends, so that a checkout on Windows has the same checksum."""

    version: str
    name: str
    text: str

    @property
    def file_name(self) -> str:
        return f"{self.version}_{self.name}.sql"

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the text, as 64 hex digits."""
        return compute_checksum(self.text)


def normalise_text(text: str) -> str:
    """The text with plain line ends, one of them at the end, and without a byte order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").rstrip() + "\n"


def compute_checksum(text: str) -> str:
    """SHA-256 of the normalised text, as 64 hex digits."""
    return hashlib.sha256(normalise_text(text).encode()).hexdigest()


def load_schema_files(folders: Iterable[Path] = _FOLDERS) -> list[SchemaFile]:
    """The files of the first of these folders that exists, in order. Raises FileNotFoundError if none does."""
    for folder in folders:
        if folder.is_dir():
            found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
            files = [
                SchemaFile(match[1], match[2], normalise_text(path.read_text(encoding="utf-8")))
                for match, path in found
            ]
            return sorted(files, key=lambda file: file.version)
    raise FileNotFoundError(
        2, "the SQL files of Hangar's schema are missing; install Hangar again", "ops/install/schema"
    )


def list_relations(files: Iterable[SchemaFile]) -> list[str]:
    """The names of the tables, views and types that these files create in `public`."""
    return [name for file in files for name in _RELATION.findall(file.text)]


def list_procedures(files: Iterable[SchemaFile]) -> tuple[list[str], list[str]]:
    """The names of the procedures that these files create in `public`, and the text of each."""
    found = [(name, text) for file in files for name, _, text in _PROCEDURE.findall(file.text)]
    return [name for name, _ in found], [text for _, text in found]
