"""Compares the installed schema with the migration files of this version: what is missing, and what has another text."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.doctor.checks import Check, not_checked, ok, warning, wrong

MIGRATIONS = Path(__file__).resolve().parents[2] / "supabase" / "migrations"
_NAME = r"((?:hangar|public)\.\w+)"
_FUNCTION = re.compile(rf"^create (or replace )?function {_NAME}\s*\(", re.MULTILINE)
_DROPPED = re.compile(r"^drop function (?:if exists )?([^;]+);", re.MULTILINE)
_BODY = re.compile(r"\bas (\$\w*\$)(.*?)\1", re.DOTALL)
_TABLE = re.compile(rf"^create table {_NAME} \((.*?)^\)", re.MULTILINE | re.DOTALL)
_VIEW = re.compile(rf"^create (?:or replace )?view {_NAME}", re.MULTILINE)
_COLUMN = re.compile(r"^  ([a-z_]+) ", re.MULTILINE)
_ADDED = re.compile(rf"^alter table {_NAME}\s+add column (?:if not exists )?(\w+)", re.MULTILINE)
_TRIGGER = re.compile(rf"^create trigger (\w+)\s[^;]*?\son {_NAME}[^;]*;", re.MULTILINE)
_INDEX = re.compile(rf"^create (?:unique )?index (\w+)\s+on {_NAME}[^;]*;", re.MULTILINE)
_POLICY = re.compile(rf"^create policy (\w+) on {_NAME}[^;]*;", re.MULTILINE)
# The clock, which tests and the local cloud replace. The check `database_clock` covers it.
_REPLACEABLE = {"hangar.now"}
_NOT_COLUMNS = {"check", "unique", "primary", "constraint", "foreign", "exclude"}
_MOST_SHOWN = 5
# `hangar install` does not apply a file again that its ledger has.
_UP_TO_DATE = "if it says that the schema is up to date"


@dataclass
class Schema:
    """What the files create. `functions`: the fingerprint of each overload, and the file; the others: the statement."""

    functions: dict[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    relations: dict[str, tuple[str, ...]] = field(default_factory=dict)
    triggers: dict[str, str] = field(default_factory=dict)
    indexes: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)


def read_schema(folder: Path = MIGRATIONS) -> Schema:
    """The schema after all files of `folder`, in the order of their names."""
    schema = Schema()
    for path in sorted(folder.glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        for match in _FUNCTION.finditer(text):
            if body := _BODY.search(text, match.end()):
                # As pg_proc.prosrc has it. MD5 is what Postgres offers everywhere; it guards nothing here.
                digest = hashlib.md5(body[2].encode(), usedforsecurity=False).hexdigest()
                earlier = () if match[1] else schema.functions.get(match[2], ((), ""))[0]
                schema.functions[match[2]] = ((*earlier, digest), path.name)
        bare = re.sub(r"--[^\n]*", "", _BODY.sub("", text))
        for match in _DROPPED.finditer(bare):
            for name in re.findall(_NAME, match[1]):
                schema.functions.pop(name, None)
        for match in _TABLE.finditer(bare):
            columns = [name for name in _COLUMN.findall(match[2]) if name not in _NOT_COLUMNS]
            schema.relations[match[1]] = tuple(columns)
        for match in _VIEW.finditer(bare):
            schema.relations[match[1]] = ()
        for match in _ADDED.finditer(bare):
            schema.relations[match[1]] = (*schema.relations.get(match[1], ()), match[2])
        for pattern, kept in ((_TRIGGER, schema.triggers), (_INDEX, schema.indexes), (_POLICY, schema.policies)):
            kept |= {f"{match[1]} on {match[2]}": " ".join(match[0].split()) for match in pattern.finditer(bare)}
    return schema


def check_schema(found: Mapping[str, Any] | None, folder: Path = MIGRATIONS) -> Check:
    """The check `schema`. `found` is the database's `schema`; None if it did not answer."""
    name = "schema"
    if found is None:
        return not_checked(name, "the database did not answer", "Correct what the check `database` names")
    if not folder.is_dir():
        return not_checked(name, "the migration files are not beside this command", "Run it from a checkout of Hangar")
    return judge_schema(read_schema(folder), found)


def judge_schema(expected: Schema, found: Mapping[str, Any]) -> Check:
    """What is missing comes first, then what differs, then what only a newer version has."""
    name = "schema"
    functions, relations = found["functions"] or {}, found["relations"] or {}
    absent = [f"function {each}" for each in expected.functions if each not in functions]
    absent += [f"table {each}" for each in expected.relations if each not in relations]
    absent += [
        f"column {column} of {each}"
        for each, columns in expected.relations.items()
        if each in relations
        for column in columns
        if column not in relations[each]
    ]
    if absent:
        return wrong(
            name,
            f"missing, so the schema is older than this version or was changed: {_shorten(absent)}",
            f"hangar install; {_UP_TO_DATE}, restore what is missing from a backup",
        )
    lacking = _find_lacking(expected, found)
    if lacking:
        return wrong(name, f"missing: {_shorten(list(lacking))}", " ".join(lacking.values()))
    changed = [
        each
        for each, (digests, _) in expected.functions.items()
        if set(functions[each]) != set(digests) and each not in _REPLACEABLE
    ]
    if changed:
        files = sorted({expected.functions[each][1] for each in changed})
        return wrong(
            name,
            f"functions with another text than in this version: {_shorten(changed)}",
            f"hangar install; {_UP_TO_DATE}, run their statements in {_shorten(files)} again, with `create or replace`",
        )
    newer = sorted(each for each in functions if each.startswith("public.") and each not in expected.functions)
    policies = sorted(set(found["policies"] or ()) - set(expected.policies))
    if policies:
        drops = " ".join(f"drop policy {each};" for each in policies)
        return wrong(name, f"policies that Hangar did not create: {_shorten(policies)}", drops)
    if newer:
        return warning(
            name,
            f"the database is newer than this command: {_shorten(newer)}",
            "Install the version of Hangar that the functions have",
        )
    return ok(
        name,
        f"{len(expected.functions)} functions and {len(expected.relations)} tables and views are those of this version",
    )


def _find_lacking(expected: Schema, found: Mapping[str, Any]) -> dict[str, str]:
    """Triggers, indexes and policies that are missing, each with the statement that creates it."""
    pairs = (
        ("trigger", expected.triggers, "triggers"),
        ("index", expected.indexes, "indexes"),
        ("policy", expected.policies, "policies"),
    )
    return {
        f"{kind} {each}": statement
        for kind, wanted, key in pairs
        for each, statement in wanted.items()
        if each not in (found[key] or ())
    }


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more
