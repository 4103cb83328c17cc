"""What the commands print: tables at a terminal, plain lines in a pipe, and no text of other people that acts on the terminal."""

import io

import pytest
from rich.console import Group

from ops.plain_text import one_line
from ops.tables import OutputConsole, make_facts, make_list, make_table, share_width

EVIL = "\x1b]0;owned\x07a\tb\r\nc\x9b31m\u202egnp.exe\u2028d"
ROWS = [
    {"user": "somebody-with-a-long-name@example.test", "status": "active", "what": "one two three four five six seven"},
    {"user": "x@example.test", "status": None, "what": "short"},
]

WORDS = [
    "somebody-with-a-long-name@example.test",
    *["active", "one", "two", "three", "four", "five", "six", "seven", "short"],
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _terminal(monkeypatch):
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def show(*parts, stream=None, no_colour=False, **options):
    stream = stream or io.StringIO()
    OutputConsole(stream, no_colour=no_colour).print(*parts, **options)
    return stream.getvalue()


def test_a_pipe_gets_a_header_and_one_tab_separated_line_for_each_row():
    out = show(make_list("Users", ROWS, ("user", "status", "what")))
    assert out == (
        "user\tstatus\twhat\n"
        "somebody-with-a-long-name@example.test\tactive\tone two three four five six seven\n"
        "x@example.test\t-\tshort\n"
    )
    assert show(make_list("Users", [], ("user", "status"))) == "user\tstatus\n"


def test_one_of_several_tables_is_named_in_a_pipe():
    assert show(make_table("Users", [{"user_id": 1}])) == "# Users\nuser id\n1\n"
    assert show(make_facts("One", {"yes": True, "none": None}, is_only=True)) == "yes\tyes\nnone\t-\n"


@pytest.mark.parametrize("columns", [20, 39, 40, 60, 80, 100, 200])
def test_no_word_is_broken_at_a_terminal_of_any_width(monkeypatch, columns):
    """Where the words do not fit beside each other, each row becomes a block of lines."""
    monkeypatch.setenv("COLUMNS", str(columns))
    out = show(make_table("Users", ROWS), stream=Terminal(), no_colour=True)
    words = out.replace("│", " ").replace("┃", " ").split()
    for word in [
        "somebody-with-a-long-name@example.test",
        *["active", "one", "two", "three", "four", "five", "six", "seven", "short"],
    ]:
        assert word in words or len(word) > columns
    if columns >= 40:
        assert max(len(line) for line in out.splitlines()) <= columns


def test_colours_are_for_terminals_that_want_them():
    table = make_table("Users", ROWS)
    assert "\x1b[32mactive" in show(table, stream=Terminal())
    assert "\x1b" not in show(table, stream=Terminal(), no_colour=True)
    assert "\x1b" not in show(table)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_text_of_other_people_cannot_reach_the_terminal_or_make_a_line(stream):
    """An escape sequence, a tab, a line end or a change of direction in an e-mail or in a message of Fly."""
    rows = [{"user": EVIL, "what": "[red]markup[/] [/x]"}]
    for part in (
        make_list("List", rows, ("user", "what")),
        make_table(EVIL, rows),
        make_facts("F", {"user": EVIL}),
        EVIL,
    ):
        out = show(part, stream=stream(), no_colour=True)
        assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e", "\u2028"} & set(out)
    out = show(make_list("List", rows, ("user", "what")))
    assert len(out.splitlines()) == 2
    assert out.count("\t") == 2
    assert "[red]markup[/] [/x]" in out


def test_markup_in_the_text_of_other_people_is_text():
    assert show("[red]x[/y]", stream=Terminal(), no_colour=True) == "[red]x[/y]\n"


def test_a_group_of_tables_is_shown_at_a_terminal():
    assert "somebody" in show(Group(make_table("A", ROWS), make_table("B", [])), stream=Terminal(), no_colour=True)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("größe 日本", "größe 日本"),
        ("a\nb\tc", "a b c"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\udc80", "\\udc80"),
    ],
)
def test_one_line_keeps_letters_and_shows_controls(text, line):
    assert one_line(text) == line


def test_columns_share_the_width_that_is_left():
    assert share_width([4, 4], [4, 40], 20) == [4, 16]
    assert share_width([4, 4], [8, 8], 100) == [8, 8]
    assert sum(share_width([3, 3, 3], [50, 50, 50], 30)) <= 30
