"""How every command shows its result: at a terminal as Rich tables in which no word is broken, in a pipe as plain lines.

A `DataTable` knows its columns and rows. At a terminal it is a table, or one block of lines for each row when the terminal is
too narrow for the longest words. In a pipe it is tab-separated with a header line (see `OutputConsole`).
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ops.plain_text import one_line

_COLOURS = {
    "active": "green",
    "healthy": "green",
    "passing": "green",
    "succeeded": "green",
    "error": "red",
    "critical": "red",
    "unhealthy": "red",
    "failed": "red",
    "unknown": "yellow",
    "warning": "yellow",
    "provisioning": "cyan",
    "deprovisioning": "magenta",
}
_WIDTH = re.compile(r"[1-9]\d{0,5}", re.ASCII)
_BESIDE_CELL = 3  # one border and two spaces


class DataTable:
    """A title, named columns, and rows of text on one line each.

    `is_only` is true for the one table of a command: in a pipe its title is left out, so that the first line is the header.
    """

    def __init__(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, is_only: bool = False
    ) -> None:
        self.title = one_line(title)
        self.columns = [one_line(name) for name in columns]
        self.rows = [[one_line(value) for value in row] for row in rows]
        self.is_only = is_only

    def list_plain_lines(self) -> Iterator[str]:
        """The lines for a pipe."""
        if not self.is_only:
            yield f"# {self.title}"
        if self.columns:
            yield "\t".join(self.columns)
        for row in self.rows:
            yield "\t".join(row)

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if not self.rows:
            yield Text(f"{self.title}: none")
            return
        every = [self.columns, *self.rows] if self.columns else self.rows
        least = [max(_longest_word(value) for value in column) for column in zip(*every, strict=True)]
        widest = [max(cell_len(value) for value in column) for column in zip(*every, strict=True)]
        free = options.max_width - _BESIDE_CELL * len(least) - 1
        if sum(least) <= free:
            yield self._make_grid(share_width(least, widest, free))
        else:
            yield from self._list_records()

    def _make_grid(self, widths: Sequence[int]) -> Table:
        table = Table(title=Text(self.title), title_justify="left", show_header=bool(self.columns), min_width=None)
        for name, width in zip(self.columns or [""] * len(widths), widths, strict=True):
            table.add_column(Text(name), width=width, overflow="fold")
        for row in self.rows:
            table.add_row(*(_make_text(value) for value in row))
        return table

    def _list_records(self) -> Iterator[RenderableType]:
        """One block for each row. Only a word that is longer than the terminal is wide is broken."""
        yield Text(self.title, "bold")
        if not self.columns:
            for name, *values in self.rows:
                yield _make_line(name, " ".join(values))
            return
        for number, row in enumerate(self.rows):
            if number:
                yield Text("")
            for name, value in zip(self.columns, row, strict=True):
                yield _make_line(name, value)


def _make_line(name: str, value: str) -> Text:
    return Text.assemble((f"{name}: ", "dim"), _make_text(value), overflow="fold")


def _longest_word(text: str) -> int:
    return max((cell_len(word) for word in text.split()), default=0)


def share_width(least: Sequence[int], widest: Sequence[int], free: int) -> list[int]:
    """Widths from `least` to `widest` that use at most `free`, which `least` fits in: columns that need little get it first."""
    widths = list(least)
    left = free - sum(widths)
    wanting = sorted(range(len(widths)), key=lambda at: widest[at] - least[at])
    for place, at in enumerate(wanting):
        more = min(max(0, widest[at] - least[at]), left // (len(wanting) - place))
        widths[at] += more
        left -= more
    return widths


def _make_text(value: str) -> Text:
    return Text(value, _COLOURS.get(value, ""))


def format_value(value: Any) -> str:
    """A value as people read it: None is a dash, true and false are yes and no."""
    if value is None:
        return "-"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


class OutputConsole(Console):
    """The console of the commands. Without a terminal it prints plain lines: no boxes, no colours, no wrapping.

    A text that is printed through it is put on one line, without control characters. Only a text of our own with
    `markup=True` is printed as it is: what it quotes must have gone through `make_cell`.
    """

    def __init__(self, file: IO[str], *, no_colour: bool) -> None:
        self._is_plain = not file.isatty()
        if self._is_plain:
            super().__init__(file=file, force_terminal=False, color_system=None, highlight=False, width=1_000_000)
        else:
            # Rich takes COLUMNS=0 for a terminal without any room, and stops at digits that are not ASCII.
            environ = {name: text for name, text in os.environ.items() if name != "COLUMNS" or _WIDTH.fullmatch(text)}
            colours: Literal["auto"] | None = None if no_colour else "auto"
            super().__init__(file=file, color_system=colours, highlight=False, _environ=environ)

    def on_broken_pipe(self) -> None:
        """Leave it to the command line how a command ends whose reader has gone."""
        raise BrokenPipeError

    def print(self, *parts: Any, **options: Any) -> None:
        """Print each part. A DataTable becomes tab-separated lines in a pipe."""
        for part in parts or ("",):
            if self._is_plain and isinstance(part, DataTable):
                for line in part.list_plain_lines():
                    self.file.write(f"{line}\n")
                self.file.flush()
            elif isinstance(part, str) and not options.get("markup"):
                super().print(one_line(part), **(options | {"soft_wrap": True, "markup": False}))
            elif isinstance(part, Text) and (cleaned := one_line(part.plain)) != part.plain:
                super().print(Text(cleaned), **options)
            else:
                super().print(part, **options)


def make_table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> DataTable:
    """Rows as one of several tables of a command. Without rows the table says "none"."""
    names = list(columns or (rows[0].keys() if rows else ()))
    return _make(title, rows, names, is_only=False)


def make_list(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> DataTable:
    """Rows as the only table of a command: in a pipe the first line is the header, also without rows."""
    return _make(title, rows, columns, is_only=True)


def _make(title: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str], *, is_only: bool) -> DataTable:
    headings = [name.replace("_", " ") for name in names]
    return DataTable(
        title, headings, [[format_value(row.get(name)) for name in names] for row in rows], is_only=is_only
    )


def make_cell(value: Any) -> str:
    """A value as Rich markup on one line: status words are coloured, None is a dash."""
    text = one_line(format_value(value))
    colour = _COLOURS.get(text)
    return f"[{colour}]{text}[/{colour}]" if colour else escape(text)


def make_facts(title: str, facts: Mapping[str, Any], *, is_only: bool = False) -> DataTable:
    """Names and values, one pair on each line, without a header line."""
    return DataTable(title, [], [[name, format_value(value)] for name, value in facts.items()], is_only=is_only)


def print_sweep(console: Console, report: Mapping[str, Any]) -> None:
    """The counts of one sweep on two lines."""
    counts = (
        "apps",
        "healthy",
        "unhealthy",
        "unknown",
        "provisioned",
        "deprovisioned",
        "repaired",
        "failed",
        "orphans",
    )
    console.print(" · ".join(f"{name} {report.get(name, 0)}" for name in counts))
    end = "complete" if report.get("complete") else f"not complete: {report.get('detail')}"
    console.print(f"{report.get('fly_calls')} Fly calls in {report.get('seconds')} s, {end}")


def print_event_lines(console: Console, events: Sequence[Mapping[str, Any]]) -> None:
    """One line for each event."""
    for event in events:
        user, status = make_cell(event["user"]), make_cell(event["status"])
        console.print(
            f"{make_cell(event['at'])}  {user}  {make_cell(event['event'])}  {status}  {make_cell(event['what'])}",
            markup=True,
            soft_wrap=True,
        )


def count_shown(shown: int, total: int, which: str = "") -> str:
    """How many rows a list shows of how many there are: "3", "50 of 1,372", or "the 100 most urgent of 500"."""
    if shown >= total:
        return f"{total:,}"
    return f"the {shown:,} {which} of {total:,}" if which else f"{shown:,} of {total:,}"


def print_failures(
    console: Console, failures: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str = "Failures"
) -> None:
    """A table of `columns`, then two unfolded lines for each failure: what happened, and what to do."""
    console.print(make_table(title, failures, columns))
    for failure in failures:
        for text in (f"{failure['user']}: {failure['what happened']}", f"    to do: {failure['what to do']}"):
            console.print(text, markup=False, highlight=False, soft_wrap=True)
