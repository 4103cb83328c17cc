"""One planted bug: a text of our own code, what it is replaced by, and the promise that breaks."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_EDGE = {"auth", "config", "config_forms", "edge", "logs", "operators", "tokens", "cost", "store", "tls"}


@dataclass(frozen=True)
class Mutant:
    """`old` stands exactly once in `file`; `tests` are the ones asked, the likeliest first; they stop at the first failure."""

    name: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]

    @property
    def is_in_the_core(self) -> bool:
        """Whether random worlds run through this code: the SQL, and what decides, looks and acts; not who calls."""
        return self.file.startswith("supabase/") or (
            self.file.startswith("shared/") and Path(self.file).stem not in _EDGE
        )

    def is_current(self, root: Path = ROOT) -> bool:
        """Whether the code still has the text, once, so that planting the bug means what it meant."""
        return (root / self.file).read_text().count(self.old) == 1

    def plant(self, root: Path) -> str:
        """Write the bug into the tree at `root` and return the file's text without it."""
        path = root / self.file
        text = path.read_text()
        path.write_text(text.replace(self.old, self.new))
        return text
