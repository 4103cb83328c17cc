"""Puts SQL files into the built package whose folders are no Python packages: Hangar's schema, and the example bindings."""

from collections.abc import Iterator
from pathlib import Path

from setuptools.command.build_py import build_py

_ROOT = Path(__file__).parents[1]
_INSTALL = Path("ops") / "install"
# Where the files are, and where ops/install/schema_files.py and ops/binding_files.py look for them.
_COPIES = (
    (_ROOT / "supabase" / "migrations", _INSTALL / "schema"),
    (_ROOT / "examples" / "bindings", _INSTALL / "bindings"),
)


class BuildWithSchema(build_py):  # type: ignore[misc]
    """Copies the files of `_COPIES`."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable installation reads the checkout
            for source, target in self._list_copies():
                self.copy_file(str(source), str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        found: list[str] = super().get_outputs(include_bytecode)
        return found if self.editable_mode else [*found, *(str(target) for _, target in self._list_copies())]

    def _list_copies(self) -> Iterator[tuple[Path, Path]]:
        for folder, place in _COPIES:
            target = Path(self.build_lib) / place
            self.mkpath(str(target))
            for path in sorted(folder.glob("*.sql")):
                yield path, target / path.name
