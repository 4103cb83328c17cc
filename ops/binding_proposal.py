"""Where the host may keep its subscriptions: candidates for a binding, recognised by names and types alone.

Nothing is applied: each proposal is the SQL, or the files of examples/bindings, that an operator may run after `hangar install`.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ops.binding_catalog import Table

SEED = "public.user_subscriptions"
_SEED_COLUMNS = frozenset({"user_id", "tier", "status", "expires_at"})
_TIMES = ("timestamptz", "timestamp", "date")
_WORDS = ("text", "enum")
# Names without underscores and capitals, the best first.
_USER = ("userid", "supabaseuserid", "authuserid", "appuserid", "user", "uid", "ownerid", "memberid", "profileid", "subscriberid",
         "personid", "person", "member", "owner")  # fmt: skip
# Often the id of a payment provider, unless it is a uuid.
_USER_IF_UUID = ("accountid", "customerid", "id")
STATUS = ("status", "subscriptionstatus", "billingstatus", "planstatus", "membershipstatus", "stripestatus", "paymentstatus",
           "subscriptionstate", "state", "isactive", "active", "ispaid", "paid")  # fmt: skip
TIER = ("tier", "subscriptiontier", "plantier", "plan", "planid", "plancode", "planname", "plankey", "plantype", "planslug",
         "subscriptionplan", "subscriptiontype", "stripepriceid", "priceid", "variantid", "stripeproductid", "productid",
         "product", "package", "membership", "membershiplevel")  # fmt: skip
END = ("expiresat", "endsat", "endat", "enddate", "expireson", "expiredat", "expirydate", "expirationdate", "expiry", "expires",
        "validuntil", "validto", "paiduntil", "activeuntil", "accessuntil", "until", "subscriptionend", "subscriptionendsat",
        "subscriptionexpiresat")  # fmt: skip
PERIOD_END = ("currentperiodend", "currentperiodendsat", "currentperiodendat", "periodend", "periodendsat",
               "stripecurrentperiodend")  # fmt: skip
_NAME_SCORES = (("subscri", 6), ("membership|licen[cs]e|entitlement", 4), ("plan|billing|member|premium|paid", 3),
                ("account|customer|profile|user", 1))  # fmt: skip
# hangar.bind_subscriptions asks about columns with such names, so that a missed end date takes no paid time from users.
_MAYBE_END = re.compile("end|expir|until|renew|period|valid", re.IGNORECASE)


@dataclass(frozen=True)
class Proposal:
    """One candidate. `statements` are the SQL to run; `files` those of examples/bindings instead, in order.

    `columns` maps user_id, tier, status and ends_at as hangar.bind_subscriptions takes it. `document` is a JSON column, whose
    paths must be found in its rows first.
    """

    table: Table
    kind: str
    columns: Mapping[str, object] = field(default_factory=dict)
    users: Mapping[str, str] | None = None
    preset: str = "default"
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    document: str | None = None
    score: int = 0

    @property
    def statements(self) -> tuple[str, ...]:
        if self.files:
            return ()
        given = {
            key: value for key, value in self.columns.items() if value != key or key == "ends_at"
        }  # fmt: skip
        if self.kind == "seed":
            given = {}
        arguments = [quote_literal(self.table.sql_name)]
        if given or self.users:
            arguments.append(quote_literal(json.dumps(given, ensure_ascii=False)))
        if self.users:
            arguments.append(quote_literal(json.dumps(self.users, ensure_ascii=False)))
        lines = [f"select hangar.use_status_rules('{self.preset}');"] if self.preset != "default" else []
        status = self.columns.get("status")
        if isinstance(status, str) and self.table.columns.get(status) == "bool":
            lines.append(
                "insert into hangar.status_rules (status, rule) values ('true', 'entitled'), ('false', 'no')"
                " on conflict (status) do nothing;"
            )
        return (*lines, f"select hangar.bind_subscriptions({', '.join(arguments)});")


def quote_literal(text: str) -> str:
    """A literal of SQL, as standard_conforming_strings reads it."""
    return "'" + text.replace("'", "''") + "'"


def propose(tables: Iterable[Table]) -> list[Proposal]:
    """Every candidate, the best first. Pure: decides by names and types alone."""
    # A name with a control character cannot be shown as it must be typed.
    known = {each.sql_name: each for each in tables if all(map(str.isprintable, (each.sql_name, *each.columns)))}
    found = []
    engines = [each for each in known.values() if _is_stripe_engine(each, known)]
    theirs = {each.schema for each in engines}
    for table in known.values():
        if table in engines:
            found.append(_propose_stripe(table, known.values()))
        elif table.schema in theirs - {"public"} or table.schema == "auth":
            continue
        elif table.sql_name == SEED and set(table.columns) >= _SEED_COLUMNS:
            same = {name: name for name in sorted(_SEED_COLUMNS)}
            found.append(Proposal(table, "seed", same, notes=_note_rights(table), score=1000))
        elif proposal := _propose_table(table, known):
            found.append(proposal)
    return sorted(found, key=lambda each: (-each.score, each.table.sql_name))


def _is_stripe_engine(table: Table, known: Mapping[str, Table]) -> bool:
    return (
        table.name == "subscriptions"
        and {"customer", "status", "items"} <= set(table.columns)
        and any(each.name == "customers" and each.schema == table.schema for each in known.values())
    )


def _propose_stripe(table: Table, tables: Iterable[Table]) -> Proposal:
    holders = [
        (each, column)
        for each in tables
        for column, kind in each.columns.items()
        if plain_name(column) == "stripecustomerid" and kind == "text" and each.schema != "auth"
    ]
    holders.sort(key=lambda pair: (pair[0].sql_name != "public.customers", pair[0].sql_name))
    first = "stripe_users_by_table.sql" if holders else "stripe_users_by_metadata.sql"
    notes = ["both generations of the engine's tables are read; these are of the " + (
        "second (_raw_data)" if "_raw_data" in table.columns else "first (typed columns)"
    )]  # fmt: skip
    if holders and holders[0][0].sql_name != "public.customers":
        notes.append(f"in {first}, change public.customers to {holders[0][0].sql_name} (column {holders[0][1]})")
    elif not holders:
        notes.append(
            "no table has stripe_customer_id: the user's id must be user_id in the metadata of Stripe's customers"
        )
    if table.schema != "stripe":
        notes.append(f"in both files, change the schema stripe to {table.schema}")
    files = (first, "stripe_sync_engine.sql")
    columns = {"status": "status"}
    return Proposal(table, "stripe", columns, None, "stripe", files, (*notes, *_note_rights(table)), score=100)


def _propose_revenuecat(table: Table) -> Proposal:
    renamed = f"change public.revenuecat_subscriptions in the file to {table.sql_name}"
    notes = () if table.sql_name == "public.revenuecat_subscriptions" else (renamed,)
    notes = (*notes, *_note_rights(table))
    return Proposal(table, "file", {"status": "event_type"}, None, "revenuecat", ("revenuecat.sql",), notes, score=50)


def _propose_table(table: Table, known: Mapping[str, Table]) -> Proposal | None:
    user = _find_user(table, known)
    if user is None:
        return None
    provider = _provider(table)
    if provider == "revenuecat" and {"app_user_id", "product_id", "event_type", "cancel_reason"} <= set(table.columns):
        return _propose_revenuecat(table)
    status = _first(table, STATUS, (*_WORDS, "bool"), but=(user,))
    tier = _first(table, TIER, (*_WORDS, "number", "uuid"), but=(user, status))
    name_score = next((score for pattern, score in _NAME_SCORES if re.search(pattern, table.name.lower())), 0)
    score = name_score + 2 * (user in table.keys) + (plain_name(user) == "userid") - table.polled - bool(table.lacks)
    users = _find_users(table, user, known)
    if status is None and tier is None:
        document = next((name for name, kind in table.columns.items() if kind == "json"), None)
        if document is None or not (name_score or re.search("subscri|billing|plan", document.lower())):
            return None
        return Proposal(table, "json", {"user_id": user}, users, provider, (), _note_rights(table), document, score)
    ends, notes = _find_end(table, provider, (user, status, tier))
    if status is None:
        notes.append("no status column was found: every row counts as active until its end")
    if tier is None:
        notes.append("no column for the tier was found: put a tier of fly_plans in the place of pro")
    if not name_score:
        notes.append("the table's name says nothing of subscriptions: it may hold something else")
    score += 3 * (status is not None) + 3 * (tier is not None) + 2 * isinstance(ends, str)
    columns = {
        "user_id": user,
        "tier": tier or {"value": "pro"},
        "status": status or {"value": "active"},
        "ends_at": ends,
    }
    return Proposal(table, "table", columns, users, provider, (), (*notes, *_note_rights(table)), None, score)


def _find_user(table: Table, known: Mapping[str, Table]) -> str | None:
    """The column that names the user: one that refers to a table of users, else one with such a name."""
    usable = [name for name, kind in table.columns.items() if kind in ("uuid", "text")]
    for name in usable:
        target = table.keys.get(name)
        if target and (target[0] == "auth.users" or _is_users(known.get(target[0]))):
            return name
    return _first(table, _USER, ("uuid", "text")) or _first(table, _USER_IF_UUID[:2], ("uuid",))


def _find_users(table: Table, user: str, known: Mapping[str, Table]) -> dict[str, str] | None:
    """The third argument of bind_subscriptions; None if the users are those of auth.users."""
    target: tuple[str, str] | None = table.keys.get(user)
    seen = set()
    # A table of profiles whose id is that of auth.users. Tables may refer to each other in a circle.
    while target and target not in seen and target[0] in known and (further := known[target[0]].keys.get(target[1])):
        seen.add(target)
        target = further
    if target is None and (user != user.lower() or "auth.users" not in known):
        # Tables of Prisma or Drizzle without a foreign key, or a database without Supabase Auth.
        same = [each for each in known.values() if _is_users(each) and each.schema == table.schema]
        target = (same[0].sql_name, "id") if same and "id" in same[0].columns else None
    if target is None or target[0] == "auth.users" or target[0] not in known:
        return None
    people = known[target[0]]
    users = {"table": people.sql_name, "id": target[1]}
    email = _first(people, ("email", "emailaddress", "mail"), ("text",))
    deleted = _first(people, ("deletedat", "isdeleted"), (*_TIMES, "bool"))
    return users | ({"email": email} if email else {}) | ({"deleted_at": deleted} if deleted else {})


def _is_users(table: Table | None) -> bool:
    return (
        table is not None
        and table.schema != "auth"
        and plain_name(table.name) in ("user", "users", "people", "appusers")
    )


def _find_end(table: Table, provider: str, but: Sequence[str | None]) -> tuple[object, list[str]]:
    names = {"paddle": (), "lemon_squeezy": ("endsat",)}.get(provider, (*END, *PERIOD_END))
    found = _first(table, names, (*_TIMES, "number", "text"), but=but)
    others = [name for name in table.columns if name not in (*but, found) and _MAYBE_END.search(name)]
    notes = []
    if found is None:
        notes.append(
            "no end date is used" + (f"; if one of these is the end, map it: {', '.join(others)}" if others else "")
        )
    elif plain_name(found) in PERIOD_END:
        notes.append(f"{found} may move at each renewal: bind it only if renewals are written before it passes")
    return found or {"value": None}, notes


def _note_rights(table: Table) -> tuple[str, ...]:
    notes = (
        (bool(table.lacks), f"this role may not read {table.sql_name}: its owner must run `{table.lacks}` first"),
        (table.filtered, "row level security applies to this role, so Hangar may not see every row"),
        (table.polled, "a view or foreign table has no triggers: Hangar looks at every user each minute"),
    )
    return tuple(text for applies, text in notes if applies)


def _provider(table: Table) -> str:
    text = plain_name(" ".join((table.schema, table.name, *table.columns)))
    words = (
        ("revenuecat", "revenuecat"),
        ("lemonsqueezy", "lemon_squeezy"),
        ("paddle", "paddle"),
        ("stripe", "stripe"),
    )
    return next((provider for word, provider in words if word in text), "default")


def _first(table: Table, names: Sequence[str], kinds: Sequence[str], but: Sequence[str | None] = ()) -> str | None:
    """The column whose name comes first in `names`."""
    by_name = {
        plain_name(name): name
        for name, kind in reversed(list(table.columns.items()))
        if kind in kinds and name not in but
    }
    return next((by_name[name] for name in names if name in by_name), None)


def plain_name(name: str) -> str:
    """The name without underscores and capitals, as the lists of names above have it."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
