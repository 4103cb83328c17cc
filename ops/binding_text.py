"""The proposals of a binding as an operator reads them, in `hangar init` and after `hangar install`."""

from typing import TYPE_CHECKING

from ops.binding_catalog import read_catalog
from ops.binding_files import find_binding_file
from ops.binding_proposal import Proposal, propose
from ops.binding_samples import ROWS_READ, TIMEOUT_S, Samples, find_paths, read_only, read_rules, read_samples
from ops.plain_text import one_line

if TYPE_CHECKING:
    import psycopg

_SHOWN = 5
_WIDTH = 24
_NONE = (
    "No table or view looks like subscriptions: a column for the user's id, and one for a status or a plan. Hangar can be "
    "installed without a binding; it then provisions and changes no user. docs/host-binding.md explains how to bind"
)


def describe_host(session: "psycopg.Connection") -> list[str]:
    """What is bound, or all candidates with sample judgements. Only reads; an error of the host is one of the lines."""
    import psycopg  # noqa: PLC0415  only installing needs it

    try:
        if session.execute("select to_regclass('hangar.binding')").fetchone() != (None,):
            row = session.execute("select source from hangar.binding").fetchone()
            if row:
                return [f"Your subscriptions: {one_line(row[0])} is bound."]
        return describe_proposals(session, with_samples=True)
    except psycopg.Error as error:
        return [f"Your tables could not be examined for subscriptions: {_explain(error)}"]


def describe_unbound(session: "psycopg.Connection") -> list[str]:
    """All candidates without sample judgements, for an installation that has no binding. An error is a line."""
    import psycopg  # noqa: PLC0415  only installing needs it

    try:
        return describe_proposals(session, with_samples=False)
    except psycopg.Error as error:
        return [f"Your tables could not be examined for subscriptions: {_explain(error)}"]


def describe_proposals(session: "psycopg.Connection", *, with_samples: bool) -> list[str]:
    """All candidates with a number, the best first, and the SQL to run. Raises psycopg.Error if the catalog cannot be read."""
    with read_only(session):
        proposals = propose(read_catalog(session))
    if not proposals:
        return [_NONE]
    lines = ["Your subscriptions:"] if len(proposals) == 1 else [
        f"Your subscriptions: {len(proposals)} candidates, the best first. None of them is chosen for you: run the SQL of one."
    ]  # fmt: skip
    for number, proposal in enumerate(proposals[:_SHOWN], 1):
        lines += _describe(session, number, proposal, with_samples=with_samples)
    if len(proposals) > _SHOWN:
        rest = ", ".join(each.table.sql_name for each in proposals[_SHOWN:])
        lines.append(f"  Less likely, not shown in detail: {rest}")
    return lines


def _describe(session: "psycopg.Connection", number: int, proposal: Proposal, *, with_samples: bool) -> list[str]:
    import psycopg  # noqa: PLC0415  only installing needs it

    name, problem, samples = proposal.table.sql_name, None, None
    rules: dict[str, str] = {}
    try:
        proposal = find_paths(session, proposal)
        if with_samples:
            rules = read_rules(session, proposal.preset)
            samples = read_samples(session, proposal, rules) if proposal.columns.get("status") else None
    except psycopg.Error as error:
        problem = f"its rows could not be read: {_explain(error)}"
        if proposal.document:
            problem += f". Change table, column and paths in {find_binding_file('json_column.sql')}"
    lines = [f"  {number}. {name}", *(f"     Note: {note}" for note in proposal.notes)]
    if proposal.kind == "seed" and with_samples:
        lines.append("     `hangar install` binds this table, so there is nothing to run.")
    if proposal.files:
        files = ", then ".join(find_binding_file(each) for each in proposal.files)
        lines.append(f"     Run as the database owner: {files}")
    elif proposal.document is None and not (proposal.kind == "seed" and with_samples):
        lines.append("     Run as the database owner" + (", after `hangar install`:" if with_samples else ":"))
        lines += [f"       {statement}" for statement in proposal.statements]
    if problem:
        lines.append(f"     Note: {problem}")
    return lines + (_show_samples(proposal, samples) if samples else [])


def _show_samples(proposal: Proposal, samples: Samples) -> list[str]:
    if not samples.words:
        return ["     It has no rows, so there is nothing to judge."]
    lines = []
    if not proposal.files:
        cells = [("user", "tier", "status", "end (UTC)", "Hangar would say")]
        cells += [(each.user, each.tier, each.status, each.ends, each.answer) for each in samples.rows]
        rows = [[_cut(cell) for cell in row[:4]] + [row[4]] for row in cells]
        widths = [max(len(row[place]) for row in rows) for place in range(4)]
        lines.append(f"     Judged by the status rules `{proposal.preset}`, if fly_plans has the tier:")
        lines += [
            "       " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
            for row in rows
        ]
    counted = ", ".join(f"{_cut(word) or 'none'} {count}" for word, count in list(samples.words.items())[:20])
    lines.append(f"     Status words in the first {ROWS_READ} rows: {counted}")
    if samples.unruled:
        words = ", ".join(_cut(word) or "none" for word in samples.unruled[:20])
        lines.append(
            f"     Without a rule, so they change no user and raise an alert: {words} "
            "(docs/host-binding.md, What the status words mean)"
        )
    return lines


def _cut(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= _WIDTH else f"{shown[: _WIDTH - 1]}…"


def _explain(error: "psycopg.Error") -> str:
    import psycopg  # noqa: PLC0415  only installing needs it

    if isinstance(error, psycopg.errors.QueryCanceled):
        return f"no answer within {TIMEOUT_S} s"
    return one_line(error.diag.message_primary or type(error).__name__)
