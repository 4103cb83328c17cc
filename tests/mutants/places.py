"""Where a planted bug belongs: one Python function or constant, or one SQL statement, found by its name.

A place is found again after other lines of its file have changed, and after the function has moved to another file of its
package or the SQL statement to another migration.
"""

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.sqlsplit import split_statements

MIGRATIONS = "supabase/migrations"


class Stale(Exception):  # noqa: N818  says what an entry is
    """The code no longer has what an entry names. The message says what."""


@dataclass(frozen=True)
class Source:
    """The text of one place: `text` is `file`'s content from `start` to `end`."""

    file: Path
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.file.read_text()[self.start : self.end]


@dataclass(frozen=True)
class Python:
    """A function, class or constant of a module: `name` is its qualified name (`Class.method`)."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"

    def find(self, root: Path) -> Source:
        """The place in the named module, otherwise in another module of its package. Raises Stale unless there is exactly one."""
        named = root / (self.module.replace(".", "/") + ".py")
        found = [*_find_definitions(named, self.name)] if named.is_file() else []
        if not found:
            others = sorted(path for path in named.parent.glob("*.py") if path != named)
            found = [source for path in others for source in _find_definitions(path, self.name)]
        return _only(found, f"{self} is not defined in this package")


@dataclass(frozen=True)
class Sql:
    """A statement of the migrations, by how it begins after `create`: `function hangar.check_intent`, `table hangar.settings`.

    Several statements may begin alike (`policy own_row`): give more of the beginning. White space does not matter.
    """

    begins: str

    def __str__(self) -> str:
        return f"SQL {self.begins}"

    def find(self, root: Path) -> Source:
        """The statement in whichever migration has it. Raises Stale unless there is exactly one."""
        begins = re.compile(
            rf"(?:create\s+(?:or\s+replace\s+)?)?{_loosen(re.escape(self.begins))}(?!\w)", re.IGNORECASE
        )
        found = [
            Source(path, start, end)
            for path in sorted((root / MIGRATIONS).glob("*.sql"))
            for start, end, statement in _find_statements(path.read_text())
            if begins.match(statement)
        ]
        return _only(found, f"{self} is not in {MIGRATIONS}")


Place = Python | Sql


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression in which white space matches any white space."""
    return re.compile(_loosen(pattern))


def _loosen(pattern: str) -> str:
    return re.sub(r"(?:\\?\s)+", r"\\s+", pattern)


def _only(found: list[Source], otherwise: str) -> Source:
    if not found:
        raise Stale(otherwise)
    if len(found) > 1:
        places = ", ".join(source.file.name for source in found)
        raise Stale(f"{otherwise.split(' is not ', maxsplit=1)[0]} is there {len(found)} times: {places}")
    return found[0]


def _find_definitions(path: Path, name: str) -> Iterator[Source]:
    text = path.read_text()
    lines = [0]
    for line in text.encode().splitlines(keepends=True):
        lines.append(lines[-1] + len(line.decode()))
    for node in _walk_named(ast.parse(text).body, name.split(".")):
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
        yield Source(path, lines[first - 1], lines[node.end_lineno or first])


def _walk_named(body: list[ast.stmt], names: list[str]) -> Iterator[ast.stmt]:
    for node in body:
        if names[0] not in _names_of(node):
            continue
        if len(names) == 1:
            yield node
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield from _walk_named(node.body, names[1:])


def _names_of(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            found = [each for target in targets for each in ast.walk(target)]
            return [each.id for each in found if isinstance(each, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


@functools.lru_cache(maxsize=1000)
def _find_statements(text: str) -> list[tuple[int, int, str]]:
    """The statements of a file: each with its start and end. Hundreds of places are looked for in the same files."""
    found, at = [], 0
    for statement in split_statements(text):
        start = text.index(statement, at)
        at = start + len(statement)
        # The comments in front of a statement are not part of it.
        begin = re.match(r"(?:\s*--[^\n]*\n)*\s*", statement)
        start += begin.end() if begin else 0
        found.append((start, at, text[start:at]))
    return found
