"""One planted bug: a place in our own code, what is changed there, and the promise that breaks."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.places import Place, Python, Source, Sql, Stale, compile_pattern

ROOT = Path(__file__).parents[2]

_CORE = ("shared.domain.", "shared.fly.", "shared.reconcile.", "shared.fleet.")


def exactly(text: str) -> str:
    """The pattern that matches this text, whatever white space it is written with."""
    return re.escape(text)


@dataclass(frozen=True)
class PlantedBug:
    """`pattern` matches exactly once in `place` and becomes `replacement`, as it is. `tests` are asked in this order."""

    name: str
    place: Place
    pattern: str
    replacement: str
    breaks: str
    tests: tuple[str, ...]

    @property
    def is_in_the_core(self) -> bool:
        """Whether random worlds run through this code: the SQL, and what decides, observes and acts; not the callers."""
        return isinstance(self.place, Sql) or self.place.module.startswith(_CORE)

    def plant(self, root: Path) -> tuple[Path, str]:
        """Write the bug into the tree at `root`. Returns the file and its text without the bug. Raises Stale."""
        source = self.place.find(root)
        text = source.file.read_text()
        source.file.write_text(self._change(source))
        return source.file, text

    def find_problem(self, root: Path = ROOT) -> str | None:
        """What is stale about this entry, or None: its place, its pattern, or one of its tests. Runs nothing."""
        try:
            changed = self._change(self.place.find(root))
            if isinstance(self.place, Python):
                ast.parse(changed)
        except Stale as stale:
            return str(stale)
        except SyntaxError as error:
            return f"what is planted in {self.place} is not Python: {error}"
        return next((problem for test in self.tests if (problem := find_test_problem(root, test))), None)

    def is_current(self, root: Path = ROOT) -> bool:
        """Whether the code still has what this entry names."""
        return self.find_problem(root) is None

    def _change(self, source: Source) -> str:
        """The file's text with the bug. Raises Stale unless the pattern matches exactly once."""
        found = list(compile_pattern(self.pattern).finditer(source.text))
        if len(found) != 1:
            times = "does not match" if not found else f"matches {len(found)} times"
            raise Stale(f"the pattern {times} in {self.place} ({source.file.name})")
        if found[0][0] == self.replacement:
            raise Stale(f"the replacement in {self.place} changes nothing")
        text = source.file.read_text()
        start, end = (source.start + at for at in found[0].span())
        return text[:start] + self.replacement + text[end:]


def find_test_problem(root: Path, test: str) -> str | None:
    """Why this test (a file, or `file::function`, with parameters or without) cannot be run, or None."""
    file, _, function = test.partition("::")
    if not (root / file).is_file():
        return f"the test file {file} does not exist"
    name = function.split("[", maxsplit=1)[0].rsplit("::", maxsplit=1)[-1]
    if name and not re.search(rf"^\s*(?:async )?def {re.escape(name)}\(", (root / file).read_text(), re.MULTILINE):
        return f"{file} has no test {name}"
    return None
