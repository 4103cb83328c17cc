"""`hangar install --into`: Hangar's files in the migrations folder of the host, for the host's own tool to apply."""

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ops.install.connection import LOCK
from ops.install.errors import InstallRefused, WrongInput
from ops.install.schema_files import SchemaFile, compute_checksum, normalise_text

_MIGRATION = re.compile(r"(\d+)_.*\.sql")
_HEADER = re.compile(r"\A-- Hangar's schema, file (\d{14})_(\w+), sha256 ([0-9a-f]{64})\n")
_BODY = re.compile(r"execute \$hangar_file\$\n(.*?)\$hangar_file\$;\n", re.DOTALL)
_STAMP = "%Y%m%d%H%M%S"
_STAMP_DIGITS = 14
_TEMPLATE = """\
-- Hangar's schema, file {version}_{name}, sha256 {checksum}
-- Written by `hangar install --into`. Do not edit it: Hangar recognises the file by the line above.
-- It is applied in full or not at all, and does nothing if hangar.schema_migrations has it, for example after `hangar install`.
do $hangar$
declare
  v_recorded text;
begin
  perform pg_catalog.pg_advisory_xact_lock({lock});
  if to_regclass('hangar.schema_migrations') is not null then
    select m.checksum into v_recorded from hangar.schema_migrations m where m.version = '{version}';
    if v_recorded = '{checksum}' then
      return;
    elsif v_recorded is not null then
      raise exception 'Hangar: {version}_{name} was applied before with another text' using
        hint = 'Use the version of Hangar that installed this database.';
    end if;
  end if;
  execute $hangar_file$
{text}$hangar_file$;
  insert into hangar.schema_migrations (version, name, checksum, how) values ('{version}', '{name}', '{checksum}', 'folder');
end
$hangar$;
"""


@dataclass
class Exported:
    """What one run wrote, or would write in a dry run, and how many files were there."""

    folder: str
    already: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)


def export(
    folder: Path, files: Sequence[SchemaFile], *, now: datetime, dry_run: bool, report: Callable[[str], None]
) -> Exported:
    """Write the files that the folder lacks, with versions later than its last. Raises WrongInput or InstallRefused."""
    _check_folder(folder)
    with _lock_folder(folder):
        present = _find_present(folder, files)
        if not dry_run:
            for unfinished in folder.glob(".*_hangar_*.sql.part"):
                unfinished.unlink()
        missing = [file for file in files if file.version not in present]
        result = Exported(str(folder), already=[present[file.version] for file in files if file.version in present])
        for file, version in zip(missing, _choose_versions(folder, len(missing), now), strict=True):
            name = f"{version}_hangar_{file.name}.sql"
            if not dry_run:
                _write(folder / name, render_file(file))
                report(f"Wrote {name}")
            result.written.append(name)
    return result


def render_file(file: SchemaFile) -> str:
    """The file as the host's tool gets it: applied once, in full or not at all, and recorded in Hangar's ledger."""
    return _TEMPLATE.format(version=file.version, name=file.name, checksum=file.checksum, text=file.text, lock=LOCK)


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise WrongInput(
            f"{folder} does not exist: name the folder with your migrations, for example supabase/migrations"
        )
    if not folder.is_dir():
        raise WrongInput(f"{folder} is a file: name the folder with your migrations, for example supabase/migrations")
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if not names and folder.resolve().name == "migrations":
        return
    if not any(_MIGRATION.fullmatch(name) for name in names):
        raise WrongInput(
            f"{folder} is no migrations folder: it has no file named like 20260131120000_name.sql. For a tool with another "
            "layout, run `hangar install` with the database's URL"
        )


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Two commands at the same time write one after the other."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _find_present(folder: Path, files: Sequence[SchemaFile]) -> dict[str, str]:
    """Our files in this folder, by version: those that this command wrote, and plain copies."""
    known = {file.version: file for file in files}
    copies = {file.checksum: file.version for file in files}
    present: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if not _MIGRATION.fullmatch(path.name) or not path.is_file():
            continue
        text = normalise_text(path.read_text(encoding="utf-8", errors="replace"))
        header = _HEADER.match(text)
        if header is None:
            if version := copies.get(compute_checksum(text)):
                present[version] = path.name
            continue
        version, name, checksum = header.groups()
        body = _BODY.search(text)
        if body is None or compute_checksum(body[1]) != checksum:
            raise InstallRefused(
                f"{path.name} was written by Hangar and edited since. Nothing was written. Delete the file if no database "
                "has it, otherwise restore it from your version control"
            )
        if version not in known or known[version].checksum != checksum:
            raise InstallRefused(
                f"{path.name} holds {version}_{name}.sql as another version of Hangar has it. Nothing was written. Use that "
                "version, or delete Hangar's files from this folder if no database has them"
            )
        present[version] = path.name
    return present


def _choose_versions(folder: Path, count: int, now: datetime) -> list[str]:
    """Timestamps, a second apart, after the folder's last version and, if that allows it, not in the future."""
    versions = [match[1] for path in folder.iterdir() if (match := _MIGRATION.fullmatch(path.name))]
    last = max(versions, default="")
    start = now.astimezone(UTC) - timedelta(seconds=count)
    if len(last) == _STAMP_DIGITS:
        try:
            start = max(start, datetime.strptime(last, _STAMP).replace(tzinfo=UTC))
            chosen = [(start + timedelta(seconds=number)).strftime(_STAMP) for number in range(1, count + 1)]
        except (ValueError, OverflowError):  # 14 digits that are no time, for example 20260131999999
            chosen = [str(max(int(last), int(start.strftime(_STAMP))) + number) for number in range(1, count + 1)]
    else:
        chosen = [(start + timedelta(seconds=number)).strftime(_STAMP) for number in range(1, count + 1)]
    # Tools compare versions as text.
    if chosen and (chosen[0] <= last or len(chosen[-1]) > _STAMP_DIGITS):
        raise WrongInput(
            f"no file named by a time can come after {last}, the last version in {folder}. Nothing was written. Run "
            "`hangar install` with the database's URL instead"
        )
    return chosen


def _write(path: Path, text: str) -> None:
    """Under another name first, so that a kill leaves no half a file for the host's tool to apply."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    unfinished.replace(path)
