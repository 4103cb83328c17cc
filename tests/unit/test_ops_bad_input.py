"""Values that make no sense at options and arguments: exit code 2 and one sentence that names the value, before any call."""

import os
import sys
from datetime import UTC, datetime

import pytest

from ops import cli
from ops.commands.events import read_since
from ops.connection import TargetError
from ops.migration.report import write_report
from ops.release_options import find_users, read_moment, read_user_file
from ops.tables import OutputConsole


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """The command line in an empty folder, without an installation: whatever is refused here was refused before any call."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("SUPABASE_URL", "SUPABASE_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["hangar", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert out == ""
        assert "hidden" not in err
        return ended.value.code, err

    return call


BLANK = [
    (("status", ""), "an argument has an empty value ('')"),
    (("status", "  "), "an argument has an empty value ('  ')"),
    (("events", "--app="), "--app has an empty value"),
    (("events", "--app= "), "--app has an empty value"),
    (("events", "--since", ""), "--since has an empty value ('')"),
    (("migrate-users", "--only="), "--only has an empty value"),
    (("migrate-users", "--report", ""), "--report has an empty value"),
    (("orphans", "--approve="), "--approve has an empty value"),
    (("settings", "set", ""), "an argument has an empty value"),
    (("pause", "--reason="), "--reason has an empty value"),
]
REFUSED = [
    (("migrate-users", "--per-minute", "nan"), "not nan"),
    (("migrate-users", "--per-minute", "inf"), "inf"),
    (("migrate-users", "--per-minute", "1e999"), "inf"),
    (("migrate-users", "--per-minute", "-1"), "-1"),
    (("migrate-users", "--batch", "0"), "0"),
    (("migrate-users", "--workers", "99999999999999999999"), "99999999999999999999"),
    (("user", "pin", "someone", "--cpu", "99999999999999999999999"), "99999999999999999999999"),
    (("user", "pin", "someone", "--memory", "-1"), "-1"),
    (("user", "pin", "someone", "--memory", "NaN"), "NaN"),
    (("events", "--limit", "ünï☃"), "ünï☃"),
    (("no-such-command",), "no-such-command"),
    (("events", "--no-such-option"), "--no-such-option"),
    (("status", "caf\udce9"), "'caf\\udce9' is not text"),
    (("events", "--user=\udcff"), "is not text"),
    (("cost", "--projection", "9" * 5000), "(5002 characters) is not one"),
    (("cost", "--projection", "٣"), "'٣' is not one"),
    (("apps", "--sort", "x" * 5000), "(5002 characters) is not one of 'created'"),
    (("migrate-users", "--report", "folder/x"), "folder is not a writable folder"),
    (("migrate-users", "--report", "x" * 300), "is too long"),
    (("migrate-users", "--report", "pipe"), "pipe is no file"),
    (("archive", "restore", "--into", "pipe"), "pipe exists already; name a new file"),
    (("archive", "restore", "--into", "folder/x"), "folder is not a writable folder"),
    (("archive", "restore", "--into", "x" * 300), "cannot be the name of a file: File name too long"),
    (("user", "secret", "someone", "set", "TOKEN=hidden"), "'TOKEN' cannot be the name of a secret"),
    (("user", "secret", "someone", "remove", "1X"), "'1X' cannot be the name of a secret"),
    (("user", "erase", "someone", "--email", "x"), "--email must be an e-mail address, not 'x'"),
    (("user", "erase", "someone", "--email", "a@b\nc"), "--email must be an e-mail address"),
    (("plans", "set", "pro", "memory_mb=512", "memory_mb=1024"), "memory_mb is given twice"),
    (
        ("plans", "set", "pro", "--unset-env", "TOKEN=hidden"),
        "'TOKEN' cannot be the name of a variable; give the name alone",
    ),
]


REASONED = [
    ("pause",), ("resume",), ("grant", "u", "pro"), ("deny", "u"), ("remove-override", "u"), ("retry", "u"), ("user", "pin", "u"),
    ("user", "unpin", "u"), ("user", "revoke", "u"), ("user", "hold-back", "--until=1d", "u"), ("user", "env", "u", "list"),
    ("user", "secret", "u", "list"), ("operators", "add", "u"), ("credentials", "renew"), ("adopt",), ("brake", "--release"),
    ("release", "start", "1"), ("release", "create"), ("settings", "set", "a=1"), ("alerts", "ack", "id"), ("user", "erase", "u"),
    ("exec", "u", "true"),
]  # fmt: skip


@pytest.mark.parametrize("command", REASONED)
def test_a_reason_that_is_too_long_is_refused_by_every_command(run, command):
    words = [*command[:-1], "--reason", "x" * 501, command[-1]]
    if command[-1] == "--release" or len(command) == 1 or command[-1] in ("renew", "create"):
        words = [*command, "--reason", "x" * 501]
    code, err = run(*words)
    assert (code, err) == (2, "hangar: --reason has 501 characters; at most 500 are kept\n")


@pytest.mark.parametrize(("arguments", "says"), [*BLANK, *REFUSED])
def test_a_value_that_makes_no_sense_is_named_before_anything_is_done(run, arguments, says):
    code, err = run(*arguments)
    assert code == 2
    assert says in err


def test_a_command_for_a_machine_may_have_empty_words():
    assert cli.find_blank(["exec", "user", "printf", ""]) is None
    assert cli.find_blank(["logs", "user", "--", ""]) is None
    assert cli.find_blank(["settings", "set", "max_apps="]) is None  # the command says what max_apps must be


NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NO_MOMENTS = [
    "",
    "٣d",
    "-1d",
    "1.2.3d",
    "NaN",
    "yesterday",
    "9999-12-31T23:59:59-12:00",
    "0001-01-01T00:00:00+14:00",
    "2026-02-30",
]


@pytest.mark.parametrize("text", NO_MOMENTS)
def test_a_text_that_is_no_time_is_named(text):
    """Also a time that has no place in UTC, which Python cannot convert."""
    with pytest.raises(TargetError, match="--until must be"):
        read_moment("--until", text, NOW)
    with pytest.raises(TargetError, match="--since "):
        read_since(text, NOW)


def test_a_moment_is_in_utc_whatever_zone_was_typed():
    assert str(read_moment("--until", " 2027-01-31T18:00+05:30 ", NOW)) == "2027-01-31 12:30:00+00:00"
    assert str(read_since("2026-11-27T12:00+05:30", NOW)) == "2026-11-27 06:30:00+00:00"


def test_a_moment_on_the_wrong_side_of_now_is_refused():
    with pytest.raises(TargetError, match="must be in the future; '2026-11-27T13:00\\+02:00' is 2026-11-27 11:00 UTC"):
        read_moment("--until", "2026-11-27T13:00+02:00", NOW)
    with pytest.raises(TargetError, match="--since must be in the past"):
        read_since("2026-11-28", NOW)


FILES = {
    "empty": b"", "comments": b"# nobody\n\n", "latin-1": "m\xfcller@example.test\n".encode("latin-1"),
    "binary": bytes(range(256)), "nul": b"a@example.test\0\n", "escape": b"a@example.test\x1b[31m\n",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("takes_app_names", [False, True])
def test_a_file_that_is_no_list_of_users_is_named(tmp_path, name, takes_app_names):
    (tmp_path / name).write_bytes(FILES[name])
    with pytest.raises(TargetError, match=name):
        read_user_file(tmp_path / name, takes_app_names=takes_app_names)


def test_a_huge_file_a_folder_and_a_missing_file_are_no_lists_of_users(tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(11_000_000)
    for path, says in (
        (tmp_path / "huge", "more than 10000000 bytes"),
        (tmp_path, "is no file"),
        (tmp_path / "no", "is no file"),
    ):
        with pytest.raises(TargetError, match=says):
            read_user_file(path)


def test_a_word_that_is_too_long_for_a_file_is_no_user():
    with pytest.raises(TargetError, match="is neither a user"):
        find_users(None, ["x" * 5000])


def test_a_report_replaces_what_a_link_names_and_not_the_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "report.json")
    write_report(tmp_path / "link", {"users": []})
    assert (tmp_path / "link").is_symlink()
    assert "users" in (tmp_path / "report.json").read_text()


class Terminal:
    """A file that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True

    def write(self, text):
        return len(text)

    def flush(self):
        pass


@pytest.mark.parametrize(
    ("columns", "width"),
    [("0", 80), ("", 80), ("-5", 80), ("\N{SUPERSCRIPT TWO}", 80), ("wide", 80), ("1", 1), ("120", 120)],
)
def test_a_width_that_is_no_number_is_ignored(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((80, 25)))
    assert OutputConsole(Terminal(), no_colour=True).width == width
