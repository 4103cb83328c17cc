"""What Hangar would say about some subscriptions of a proposed binding, before anything is installed. Only reads.

The status rules are those of the schema's own file; the order of the questions is that of hangar.judge_subscriptions.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.binding_proposal import END, PERIOD_END, STATUS, TIER, Proposal, plain_name
from ops.install.schema_files import load_schema_files

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

TIMEOUT_S = 5
ROWS_READ = 10_000
SAMPLES = 5
_PRESETS = re.compile(r"create function hangar\.status_rules_of.*?as \$\$(.*?)\$\$", re.DOTALL)
_UUID = re.compile(r"\s*\{?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}\}?\s*", re.IGNORECASE)
_LEAVES = """
with recursive node as (
  select array[]::text[] as path, d.value
    from (select {column}::jsonb as value from {table} where {column} is not null limit 200) d
  union all
  select n.path || e.key, e.value from node n
   cross join lateral jsonb_each(case jsonb_typeof(n.value) when 'object' then n.value else '{{}}' end) e
   where cardinality(n.path) < 4)
select path, count(*) from node where path <> '{{}}' and jsonb_typeof(value) not in ('object', 'array') group by path
 order by 2 desc, cardinality(path), path limit 1000
"""
_ROWS = """
select r.user_id, r.tier, r.status, r.ends_at, count(*) over w, extract(epoch from now())::float8, row_number() over w2
  from (select {user_id} as user_id, {tier} as tier, {status} as status, {ends_at} as ends_at from {table} limit {limit}) r
window w as (partition by lower(btrim(r.status))),
       w2 as (partition by lower(btrim(r.status)) order by r.user_id is null, r.ends_at desc)
 order by 7, 5 desc, 3 limit 100
"""


@dataclass(frozen=True)
class Sample:
    """One row: what the host says, and what Hangar would say about it."""

    user: str
    tier: str
    status: str
    ends: str
    answer: str


@dataclass(frozen=True)
class Samples:
    """Up to five rows, and how many of the rows that were read have each status word, the most frequent first."""

    rows: list[Sample]
    words: dict[str, int]
    unruled: list[str]


@contextmanager
def read_only(session: "psycopg.Connection") -> Iterator[None]:
    """A transaction that can write nothing, with a limit of time for each statement."""
    with session.transaction():
        session.execute("set transaction read only")
        session.execute("select set_config('statement_timeout', %s, true)", (f"{TIMEOUT_S}s",))
        yield


def read_rules(session: "psycopg.Connection", preset: str) -> dict[str, str]:
    """The rule of each status word: those of an installation, unless the proposal sets a preset; else the preset's."""
    if preset == "default" and session.execute("select to_regclass('hangar.status_rules')").fetchone() != (None,):
        return dict(session.execute("select status, rule from hangar.status_rules").fetchall())
    text = next(file.text for file in load_schema_files() if file.name == "status_rules")
    found = _PRESETS.search(text)
    assert found is not None  # noqa: S101  tests/postgres/test_binding_proposal.py compares all presets
    return dict(session.execute(found[1].replace("p_provider", "%s").encode(), (preset,)).fetchall())


def find_paths(session: "psycopg.Connection", proposal: Proposal) -> Proposal:
    """The proposal with the paths of its JSON column, found in its rows; with the file of the example if there are none."""
    from psycopg import sql  # noqa: PLC0415  only installing needs it

    if proposal.document is None:
        return proposal
    document = proposal.document
    query = sql.SQL(_LEAVES).format(column=sql.Identifier(document), table=sql.SQL(proposal.table.sql_name))
    with read_only(session):
        paths = [path for path, _ in session.execute(query).fetchall()]

    def find(names: tuple[str, ...]) -> object:
        # {"plan": {"id": …}} is planId, as {"planId": …} is.
        ends_of = [(plain_name("".join(path[-length:])), path) for path in paths for length in (1, 2)]
        places = [(names.index(name), path) for name, path in ends_of if name in names]
        return {"column": document, "path": min(places, key=lambda each: each[0])[1]} if places else None

    status, tier, ends = find(STATUS), find(TIER), find((*END, *PERIOD_END))
    if status is None and tier is None:
        note = (
            f"no row of {proposal.table.sql_name} shows the plan and the status in {document}: change table and paths"
        )
        return replace(proposal, files=("json_column.sql",), notes=(*proposal.notes, note))
    notes = [
        *(["no end date was found in the rows"] if ends is None else []),
        *(["no status was found: every row counts as active until its end"] if status is None else []),
        *(["no tier was found: put a tier of fly_plans in the place of pro"] if tier is None else []),
    ]
    columns = {
        **proposal.columns,
        "tier": tier or {"value": "pro"},
        "status": status or {"value": "active"},
        "ends_at": ends or {"value": None},
    }
    return replace(proposal, columns=columns, document=None, notes=(*notes, *proposal.notes))


def read_samples(session: "psycopg.Connection", proposal: Proposal, rules: Mapping[str, str]) -> Samples:
    """Judge up to five rows, different statuses first, of the first 10,000. Raises psycopg.Error."""
    from psycopg import sql  # noqa: PLC0415  only installing needs it

    expressions = {key: _expression(proposal, key) for key in ("user_id", "tier", "status", "ends_at")}
    query = sql.SQL(_ROWS).format(**expressions, table=sql.SQL(proposal.table.sql_name), limit=sql.Literal(ROWS_READ))
    with read_only(session):
        found = session.execute(query).fetchall()
    words: dict[str, int] = {}
    for _, _, status, _, count, _, _ in found:
        words.setdefault(normalise(status), count)
    if _is_boolean(proposal):
        rules = {"true": "entitled", "false": "no"} | dict(rules)
    rows = []
    for user, tier, status, ends, _, now, _ in found[:SAMPLES]:
        end, readable = parse_end(ends, is_number=_kind(proposal, "ends_at") in ("timestamptz", "timestamp", "date"))
        answer = judge(rules, tier, status, end, now=now, readable=readable)
        if user is None or not _UUID.fullmatch(user):
            answer = "belongs to no user: " + ("it has no id" if user is None else "the id is no uuid")
        shown = "none" if end is None and readable else _show_time(end) if end is not None else str(ends)
        rows.append(Sample(_shorten(user or "none"), tier or "none", status or "none", shown, answer))
    return Samples(rows, words, [word for word in words if word not in rules])


def normalise(status: str | None) -> str:
    """A status word as Hangar compares it."""
    return (status or "").strip().lower()


def judge(
    rules: Mapping[str, str],
    tier: str | None,
    status: str | None,
    end: float | None,
    *,
    now: float,
    readable: bool = True,
) -> str:
    """What Hangar would say if fly_plans has the tier, in the order of hangar.judge_subscriptions. `end` is Unix time."""
    word = normalise(status)
    rule = rules.get(word)
    if rule == "no":
        return "no"
    if not word or rule is None:
        return "unknown: no status" if not word else "unknown: the status has no rule"
    if not readable:
        return "unknown: the end cannot be read as a time"
    if (rule == "until_end" and end is None) or (end is not None and end <= now):
        return "no: it has no end to wait for" if end is None else "no: it has ended"
    if not (tier or "").strip():
        return "unknown: no tier"
    return "entitled" if end is None else "entitled until the end"


def parse_end(text: str | None, *, is_number: bool) -> tuple[float | None, bool]:
    """An end as Unix time, and whether it could be read, as hangar.to_time reads it. `is_number`: it is Unix time already."""
    value = (text or "").strip().lower()
    if not value:
        return None, True
    if is_number or value in ("infinity", "inf"):
        return float(value), True
    if re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", value):
        number = float(value)
        if abs(number) >= 1e14:
            return None, False
        return (number if abs(number) < 1e11 else number / 1000), True
    try:
        time = datetime.fromisoformat(value.upper())
    except ValueError:
        return None, False
    return time.replace(tzinfo=time.tzinfo or UTC).timestamp(), True


def _expression(proposal: Proposal, key: str) -> "sql.Composable":
    from psycopg import sql  # noqa: PLC0415  only installing needs it

    mapped = proposal.columns.get(key, {"value": None})
    if isinstance(mapped, str):
        name = sql.Identifier(mapped)
        kind = proposal.table.columns.get(mapped)
        if key == "ends_at" and kind in ("timestamptz", "timestamp", "date"):
            plain = sql.SQL("::timestamp") if kind == "date" else sql.SQL("")
            return sql.SQL("extract(epoch from {}{})::float8::text").format(name, plain)
        return sql.SQL("{}::text").format(name)
    assert isinstance(mapped, dict)  # noqa: S101  made by this program
    if "column" in mapped:
        return sql.SQL("({} #>> {}::text[])").format(sql.Identifier(mapped["column"]), sql.Literal(mapped["path"]))
    return sql.SQL("{}::text").format(sql.Literal(mapped["value"]))


def _kind(proposal: Proposal, key: str) -> str | None:
    mapped = proposal.columns.get(key)
    return proposal.table.columns.get(mapped) if isinstance(mapped, str) else None


def _is_boolean(proposal: Proposal) -> bool:
    return _kind(proposal, "status") == "bool"


def _shorten(user: str) -> str:
    return user if len(user) <= 9 else f"{user[:8]}…"


def _show_time(end: float) -> str:
    try:
        return datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return "infinity" if end > 0 else "-infinity"
