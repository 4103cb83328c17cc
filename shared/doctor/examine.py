"""Runs every check that a process can make with the database's answer: the one order for the command and the dashboard."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from shared.adapters.database import PostgrestStore
from shared.doctor import function_checks, installation_checks
from shared.doctor.checks import DATABASE, Check, guard, not_checked, ok, wrong
from shared.doctor.fly_checks import NAMES as FLY_NAMES
from shared.doctor.fly_checks import check_fly, make_fly_link
from shared.doctor.function_checks import Seen, check_functions, judge_code
from shared.doctor.groups import Group, run_groups
from shared.doctor.signing_key import check_signing_key
from shared.doctor.surroundings import Surroundings
from shared.domain.errors import STATEMENT_TIMEOUT, HangarError, Refused, TransientError
from shared.domain.models import Json
from shared.fly.transport import FlyLink
from shared.observability import code_version

Rpc = Callable[[str, Json], Any]
_FUNCTION_NAMES = tuple(f"function_{name}" for name in function_checks.FUNCTIONS)
_OUT_OF_REACH = "the database did not answer"
_READ_ONLY = "the database is read-only, so Hangar changes nothing: Supabase does that when the disk is full"
_WRITE_AGAIN = (
    "Free space or enlarge the disk (Supabase: Settings, Infrastructure); then "
    "alter role service_role reset default_transaction_read_only;"
)
_NOT_HANGAR = "something answers at SUPABASE_URL, but not a database with Hangar"
_RIGHT_ADDRESS = "Set SUPABASE_URL to the address of the project's API, https://PROJECT.supabase.co, without a path"
_DATABASE_FIRST = "Correct what the check `database` names"
_WAKE_DATABASE = (
    "Check that the project in SUPABASE_URL is running (Supabase pauses idle projects), then run `hangar doctor` again"
)


def examine(
    here: Surroundings,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    rpc: Rpc | None = None,
    patience_s: float | None = None,
) -> tuple[list[Check], Json | None]:
    """Every check but those that need files of the command, and the database's facts (None if it did not answer).

    With `patience_s` the database has that many seconds, then everything else together as many again. What has not answered
    by then is not checked. Without it the checks run one after the other, as long as they take.
    """
    checks, reading = _ask_database(rpc or PostgrestStore(here.supabase_url, here.secret_key).rpc, now, patience_s)
    facts, lead = (None, None) if reading is None else (reading.facts, reading.lead)
    seen = Seen()
    fly_link: list[FlyLink] = []
    found = run_groups(list(_list_groups(here, facts, lead, now, seen, fly_link)), patience_s)
    if facts is None or lead is None:
        names = (
            "installation_id",
            "webhook_secret",
            "functions_url",
            *_FUNCTION_NAMES,
            "functions_code",
            "images",
            "clocks",
        )
        missing = [not_checked(name, _OUT_OF_REACH, _DATABASE_FIRST) for name in names]
        return [*checks, *found, *missing], facts
    fly_lead = fly_link[0].fly_clock.lead_over(now() + lead) if fly_link and fly_link[0].calls else None
    found += guard(
        ["clocks"], lambda: [installation_checks.judge_clocks(now() + lead, now(), list(seen.dates), fly_lead)]
    )
    found += guard(["functions_code"], lambda: [judge_code(dict(seen.code), code_version.fingerprint_code())])
    return [*checks, *found], facts


@dataclass(frozen=True)
class _Reading:
    """The database's facts, and how far its clock is ahead of this one."""

    facts: Json
    lead: timedelta


def _ask_database(
    rpc: Rpc, now: Callable[[], datetime], patience_s: float | None
) -> tuple[list[Check], _Reading | None]:
    readings: list[_Reading] = []

    def read() -> list[Check]:
        before = now()
        checks, facts = read_database(rpc)
        measured_at = before + (now() - before) / 2
        if facts is not None:
            readings.append(_Reading(facts, datetime.fromisoformat(facts["now"]) - measured_at))
        return checks

    checks = run_groups([Group(("database", *DATABASE), read)], patience_s)
    if patience_s is not None and checks and not checks[0].was_made:  # no answer at all
        return _explain_no_database(f"the database did not answer within {patience_s:g} s", _WAKE_DATABASE)
    return checks, readings[0] if readings else None


def _list_groups(
    here: Surroundings,
    facts: Json | None,
    lead: timedelta | None,
    now: Callable[[], datetime],
    seen: Seen,
    fly_link: list[FlyLink],
) -> Iterator[Group]:
    """What can be asked at the same time. The functions add to `seen`, and the checks of Fly their connection to `fly_link`."""
    own = installation_checks
    yield Group(("environment",), lambda: [own.check_environment(here)])
    yield Group(("publishable_key",), lambda: [own.check_publishable_key(here, own.get_with_key)])
    yield Group(("signing_key",), lambda: [check_signing_key(here, facts["signing_key"] if facts else None)])
    if facts is not None:
        settings, probes, images = facts["settings"], facts["probes"], facts["images"] or []
        yield Group(("installation_id",), lambda: [own.check_installation_id(here, settings)])
        yield Group(("webhook_secret",), lambda: [own.check_webhook_secret(here, probes)])
        yield Group(("functions_url",), lambda: [own.check_functions_url(here, probes)])
        for function in function_checks.FUNCTIONS:
            yield Group((f"function_{function}",), partial(check_functions, probes, seen, only=(function,)))
        yield Group(("images",), lambda: [own.check_images(here, images)])
    yield Group(FLY_NAMES, lambda: _check_fly(here, facts, now() + (lead or timedelta(0)), fly_link))
    yield Group(("alert_webhook",), lambda: [own.check_alert_webhook(here, own.ask_for_headers)])
    yield Group(("price_table",), lambda: [own.judge_prices(now().date())])


def _check_fly(here: Surroundings, facts: Json | None, at: datetime, fly_link: list[FlyLink]) -> Iterator[Check]:
    settings, regions = (facts["settings"], facts["regions"] or []) if facts else (None, [])
    closed = (facts["closed_originals"] or []) if facts else None
    link = make_fly_link(here)
    fly_link += [link] if link is not None else []
    try:
        yield from check_fly(link, here, settings, regions, at, closed)
    finally:
        if link is not None:
            link.close()


def read_database(rpc: Rpc) -> tuple[list[Check], Json | None]:
    """The check `database`, those that the database makes, and its facts. If all together take too long, one after the other."""
    try:
        answer: Json = rpc("fly_doctor", {})
    except TransientError as error:
        if error.code == STATEMENT_TIMEOUT:
            return _read_one_by_one(rpc)
        return _explain_no_database(str(error), _WAKE_DATABASE)
    except Refused as refused:
        remedy = (
            "hangar install; then notify pgrst, 'reload schema'"
            if refused.code == "migrations"
            else _explain_key(refused)
        )
        return _explain_no_database(str(refused), remedy)
    except HangarError as error:
        return _explain_no_database(
            str(error), "Check SUPABASE_URL and SUPABASE_SECRET_KEY, then run `hangar doctor` again"
        )
    if not isinstance(answer, dict) or not isinstance(answer.get("checks"), list):
        return _explain_no_database(_NOT_HANGAR, _RIGHT_ADDRESS)
    checks = [Check(**check) for check in answer["checks"]]
    if answer.get("settings", {}) is None:  # its row is gone, and nothing else can be compared
        return [ok("database", "the database answers"), *checks], None
    if answer.get("read_only"):
        return [wrong("database", _READ_ONLY, _WRITE_AGAIN), *checks], answer
    return [ok("database", "the database answers"), *checks], answer


def _explain_key(refused: Refused) -> str:
    return refused.advice or "Copy the sb_secret_… key from Project Settings, API Keys, into SUPABASE_SECRET_KEY"


def _explain_no_database(found: str, remedy: str) -> tuple[list[Check], None]:
    rest = [not_checked(name, _OUT_OF_REACH, _DATABASE_FIRST) for name in DATABASE]
    return [wrong("database", found, remedy), *rest], None


def _read_one_by_one(rpc: Rpc) -> tuple[list[Check], Json | None]:
    checks = [ok("database", "the database answers, and cancels long calls, so each check was a call of its own")]
    for name in DATABASE:
        try:
            answer = rpc("fly_doctor", {"p_only": [name], "p_facts": False})
            checks += [Check(**check) for check in answer["checks"]]
        except HangarError as error:
            checks.append(
                not_checked(
                    name,
                    str(error),
                    "alter role service_role set statement_timeout = '15s'; notify pgrst, 'reload config'",
                )
            )
    try:
        return checks, rpc("fly_doctor", {"p_only": [], "p_facts": True})
    except HangarError:
        return checks, None
