"""How shares, waves, durations, moments and variables are written on the command line."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from ops.connection import TargetError
from ops.release_options import find_users, read_duration, read_env, read_moment, read_share, read_waves

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
USER = "00000000-0000-4000-8000-00000000000"


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 0.05), (" 5 % ", 0.05), ("0.05", 0.05), (".5", 0.5), ("100%", 1), ("1.0", 1), ("1%", 0.01), ("0", 0)],
)
def test_a_share_is_a_percentage_or_a_fraction(text, share):
    assert read_share("--share", text) == share


@pytest.mark.parametrize(
    "text", ["", "%", "-5%", "nan", "inf", "1e-1", "5%%", "five", "0,05", "\u0665", "101%", "1.5", "50"]
)
def test_another_share_is_refused_with_an_example(text):
    with pytest.raises(TargetError, match="--share must be"):
        read_share("--share", text)


@pytest.mark.parametrize("text", ["1", " 1 "])
def test_a_plain_one_is_refused_because_it_may_mean_everything_or_one_percent(text):
    with pytest.raises(TargetError, match="write 100% or 1%"):
        read_share("--failure-share", text)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("5,25,100", [0.05, 0.25, 1]),
        ("5%, 25%, 100%", [0.05, 0.25, 1]),
        ("0.05,0.25,1", [0.05, 0.25, 1]),
        ("1,10,100", [0.01, 0.1, 1]),
        ("0.5,100", [0.005, 1]),
        ("100", [1]),
        ("1", [1]),
    ],
)
def test_waves_are_percentages_or_shares_that_end_with_everybody(text, shares):
    assert read_waves(text) == shares


@pytest.mark.parametrize(
    "text", ["", "5,25", "25,5,100", "5,5,100", "0,100", "5;100", "a", "100,", "5,150", "-5,100", "50%,1"]
)
def test_other_waves_are_refused(text):
    with pytest.raises(TargetError, match="--waves must"):
        read_waves(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h", 3600), ("90", 90), ("0s", 0), ("1.5m", 90), ("1d", 86400)]
)
def test_a_duration_has_a_unit_or_is_seconds(text, seconds):
    assert read_duration("--soak", text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5m", "5 m", "5min", "5M", "1e3", "soon"])
def test_another_duration_is_refused(text):
    with pytest.raises(TargetError, match="--soak must be a duration like 90s, 5m or 1h"):
        read_duration("--soak", text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-31", datetime(2026, 12, 31, tzinfo=UTC)),
        ("2026-12-31T18:00", datetime(2026, 12, 31, 18, tzinfo=UTC)),
        ("2026-12-31T18:00+02:00", datetime(2026, 12, 31, 16, tzinfo=UTC)),
        ("7d", NOW + timedelta(days=7)),
        ("999999999w", NOW + timedelta(days=3650)),
    ],
)
def test_a_moment_is_a_date_a_time_or_a_span(text, moment):
    assert read_moment("--until", text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "31.12.2026", "7", "infinity", "2026-11-27", "2026-11-27T13:00+02:00", "0h"]
)
def test_another_moment_or_one_in_the_past_is_refused(text):
    with pytest.raises(TargetError, match="--until must be"):
        read_moment("--until", text, NOW)


def test_variables_keep_what_follows_the_first_equals_sign():
    assert read_env(["A=b=c", "_B2="]) == {"A": "b=c", "_B2": ""}


@pytest.mark.parametrize(
    "pairs", [["hunter2"], ["=hunter2"], ["2A=hunter2"], ["A-B=hunter2"], ["A=hunter2", "A=hunter2"], ["Ä=hunter2"]]
)
def test_a_refused_variable_does_not_show_its_value(pairs):
    with pytest.raises(TargetError) as refused:
        read_env(pairs)
    assert "hunter2" not in str(refused.value)


class Directory:
    """Answers for `Installation.find_users`."""

    def find_users(self, emails):
        return {email: UUID(f"{USER}{email[0]}") for email in emails}


def test_users_come_from_words_lists_and_files_each_once(tmp_path):
    """The file may have comments, empty lines and the mark of Windows editors."""
    file = tmp_path / "users.txt"
    file.write_bytes(f"\ufeff3@example.test\r\n\r\n# people\r\n{USER}4 # vip\r\n{USER}1\r\n".encode())
    found = find_users(Directory(), [f"{USER}1,2@example.test", str(file)])
    assert {str(user)[-1]: word for user, word in found.items()} == {
        "1": f"{USER}1",
        "2": "2@example.test",
        "3": "3@example.test",
        "4": f"{USER}4",
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"1@example.test\nnobody\n", "line 2: 'nobody' is neither"),
        (b"# none\n\n", "names no user"),
        (b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_a_file_that_cannot_be_read_as_users_is_refused_with_its_line(tmp_path, content, sentence):
    file = tmp_path / "users.txt"
    file.write_bytes(content)
    with pytest.raises(TargetError, match=sentence):
        find_users(Directory(), [str(file)])
    for words in ([str(tmp_path)], [""], [","]):
        with pytest.raises(TargetError):
            find_users(Directory(), words)
