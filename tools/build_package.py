"""Puts the SQL files of Hangar's schema into the built package, because the folder `supabase/` is no Python package."""

from pathlib import Path

from setuptools.command.build_py import build_py

_MIGRATIONS = Path(__file__).parents[1] / "supabase" / "migrations"
_PLACE = Path("ops") / "install" / "schema"


class BuildWithSchema(build_py):  # type: ignore[misc]
    """Copies the files to `ops/install/schema`, where ops/install/schema_files.py looks first."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable installation reads the checkout
            for path in sorted(_MIGRATIONS.glob("*.sql")):
                self.copy_file(str(path), str(self._target(path)))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        found: list[str] = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return found
        return [*found, *(str(self._target(path)) for path in sorted(_MIGRATIONS.glob("*.sql")))]

    def _target(self, path: Path) -> Path:
        folder = Path(self.build_lib) / _PLACE
        self.mkpath(str(folder))
        return folder / path.name
