"""`hangar install --into`: which folders it takes, how it names the files, and what it finds again."""

import re
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from ops.cli import build_cli
from ops.install.errors import InstallRefused, WrongInput
from ops.install.export import export
from ops.install.schema_files import load_schema_files

FILES = load_schema_files()
NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    """A host's migrations folder with one migration."""
    made = tmp_path / "migrations"
    made.mkdir()
    (made / "20260101000000_first.sql").write_text("select 1;\n")
    return made


def write(folder, files=FILES, now=NOW, *, dry_run=False):
    return export(folder, files, now=now, dry_run=dry_run, report=lambda _: None)


def versions(folder):
    return sorted(path.name.partition("_")[0] for path in folder.glob("*.sql"))


def test_every_file_is_written_after_the_hosts_last_and_not_in_the_future(folder):
    written = write(folder).written
    assert len(written) == len(FILES)
    assert written == sorted(written)
    assert [name.partition("_hangar_")[2] for name in written] == [f"{file.name}.sql" for file in FILES]
    assert written[0] > "20260101000000_first.sql"
    assert written[-1].partition("_")[0] <= "20260601120000"
    for version in versions(folder):
        datetime.strptime(version, "%Y%m%d%H%M%S")  # noqa: DTZ007  only whether it is a time


def test_a_host_whose_last_migration_is_newer_than_now_comes_first(folder):
    (folder / "20270101000059_ahead.sql").write_text("select 1;\n")
    written = write(folder).written
    assert written[0].startswith("20270101000100_")
    assert written[-1] == max(path.name for path in folder.iterdir())


def test_a_last_version_that_is_no_time_is_still_followed(folder):
    (folder / "20260131999999_odd.sql").write_text("select 1;\n")
    written = write(folder).written
    assert written == sorted(written)
    assert written[0] > "20260131999999_odd.sql"


@pytest.mark.parametrize("last", ["99999999999999_x.sql", "9_x.sql", "202601010000001_x.sql"])
def test_a_version_that_no_time_can_follow_is_refused(folder, last):
    (folder / last).write_text("select 1;\n")
    if last.startswith("2026"):
        write(folder)  # a longer number is earlier as text, which is how tools compare
        return
    with pytest.raises(WrongInput, match="can come after"):
        write(folder)
    assert len(list(folder.iterdir())) == 2


def test_it_is_repeatable(folder):
    write(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    again = write(folder)
    assert (again.written, len(again.already)) == ([], len(FILES))
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_dry_run_writes_nothing(folder):
    assert len(write(folder, dry_run=True).written) == len(FILES)
    assert len(list(folder.iterdir())) == 1


def test_what_a_killed_run_left_is_completed_and_cleared(folder):
    write(folder, FILES[:10])
    (folder / ".20260601120000_hangar_x.sql.part").write_text("half")
    later = write(folder, now=NOW.replace(hour=13))
    assert len(later.written) == len(FILES) - 10
    assert later.written[0] > max(later.already)
    assert list(folder.glob(".*")) == []


def test_a_newer_version_adds_only_its_new_files(folder):
    write(folder, FILES[:-2])
    added = write(folder, now=NOW.replace(year=2027))
    assert [name.partition("_hangar_")[2] for name in added.written] == [f"{file.name}.sql" for file in FILES[-2:]]


def test_plain_copies_of_our_files_count_as_present(folder):
    for file in FILES[:3]:
        (folder / file.file_name).write_text(file.text)
    result = write(folder, now=datetime(2027, 1, 1, tzinfo=UTC))
    assert result.already == [file.file_name for file in FILES[:3]]
    assert len(result.written) == len(FILES) - 3


def test_line_ends_of_windows_change_nothing(folder):
    write(folder)
    for path in folder.glob("*_hangar_*.sql"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert write(folder).written == []


def test_an_edited_file_is_named_and_nothing_is_written(folder):
    write(folder, FILES[:3])
    edited = sorted(folder.glob("*_hangar_*.sql"))[1]
    edited.write_text(edited.read_text().replace("create", "create ", 1))
    before = sorted(folder.iterdir())
    with pytest.raises(InstallRefused, match=re.escape(edited.name)):
        write(folder)
    assert sorted(folder.iterdir()) == before


def test_a_file_of_another_version_of_hangar_is_named(folder):
    other = [type(FILES[0])(FILES[0].version, FILES[0].name, "select 'older';\n")]
    write(folder, other)
    with pytest.raises(InstallRefused, match="another version of Hangar"):
        write(folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "does not exist"),
        (lambda path: path.write_text("x"), "is a file"),
        (lambda path: path.mkdir(), "is no migrations folder"),
        (lambda path: (path.mkdir(), (path / "schema.prisma").write_text("x")), "is no migrations folder"),
        (lambda path: (path.mkdir(), (path / "2026_init").mkdir()), "is no migrations folder"),
        (lambda path: (path.mkdir(), (path / "schema.sql").write_text("x")), "is no migrations folder"),
    ],
)
def test_what_is_no_migrations_folder_is_refused_and_left_alone(tmp_path, make, said):
    path = tmp_path / "place"
    make(path)
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(build_cli(), ["install", "--into", str(path)])
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_named_migrations_is_taken(tmp_path):
    (tmp_path / "migrations").mkdir()
    result = CliRunner().invoke(build_cli(), ["install", "--into", str(tmp_path / "migrations")])
    assert result.exit_code == 0
    assert f"{len(FILES)} files written" in result.output
    assert "Up to date" in CliRunner().invoke(build_cli(), ["install", "--into", str(tmp_path / "migrations")]).output
