"""Values that make no sense at options and arguments: exit code 2 and one sentence that names the value, before any call."""

import sys

import pytest

from ops import cli


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """The command line in an empty folder, without an installation: whatever is refused here was refused before any call."""
    monkeypatch.chdir(tmp_path)
    for name in ("SUPABASE_URL", "SUPABASE_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["hangar", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert out == ""
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
]


@pytest.mark.parametrize(("arguments", "says"), [*BLANK, *REFUSED])
def test_a_value_that_makes_no_sense_is_named_before_anything_is_done(run, arguments, says):
    code, err = run(*arguments)
    assert code == 2
    assert says in err


def test_a_command_for_a_machine_may_have_empty_words():
    assert cli.find_blank(["exec", "user", "printf", ""]) is None
    assert cli.find_blank(["logs", "user", "--", ""]) is None
    assert cli.find_blank(["settings", "set", "max_apps="]) is None  # the command says what max_apps must be
