"""Runs every check that a process can make with the database's answer: the one order for the command and the dashboard."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.adapters.database import PostgrestStore
from shared.doctor import function_checks, installation_checks
from shared.doctor.checks import DATABASE, Check, guard, not_checked, ok, wrong
from shared.doctor.fly_checks import NAMES as FLY_NAMES
from shared.doctor.fly_checks import check_fly, make_fly_link
from shared.doctor.function_checks import check_functions
from shared.doctor.surroundings import Surroundings
from shared.domain.errors import HangarError, Refused, TransientError
from shared.domain.models import Json

Rpc = Callable[[str, Json], Any]
_FUNCTION_NAMES = tuple(f"function_{name}" for name in function_checks.FUNCTIONS)
_CANCELLED = "57014"
_OUT_OF_REACH = "the database did not answer"
_DATABASE_FIRST = "Correct what the check `database` names"


def examine(
    here: Surroundings, now: Callable[[], datetime] = lambda: datetime.now(UTC), rpc: Rpc | None = None
) -> tuple[list[Check], Json | None]:
    """Every check but those that need files of the command, and the database's facts (None if it did not answer)."""
    before = now()
    checks, facts = read_database(rpc or PostgrestStore(here.supabase_url, here.secret_key).rpc)
    measured_at = before + (now() - before) / 2
    found = [installation_checks.check_environment(here), *checks]
    found += guard(
        ["publishable_key"],
        lambda: [installation_checks.check_publishable_key(here, installation_checks.get_with_key)],
    )
    if facts is None:
        names = ("installation_id", "webhook_secret", *_FUNCTION_NAMES, "images")
        found += [not_checked(name, _OUT_OF_REACH, _DATABASE_FIRST) for name in names]
        found += _check_fly_and_clocks(here, None, None, [], now)
    else:
        dates: list[datetime] = []
        settings, probes = facts["settings"], facts["probes"]
        found += guard(["installation_id"], lambda: [installation_checks.check_installation_id(here, settings)])
        found += guard(["webhook_secret"], lambda: [installation_checks.check_webhook_secret(here, probes)])
        found += guard(_FUNCTION_NAMES, lambda: check_functions(probes, dates))
        found += guard(["images"], lambda: [installation_checks.check_images(here, facts["images"] or [])])
        lead = datetime.fromisoformat(facts["now"]) - measured_at
        found += _check_fly_and_clocks(here, facts, lead, dates, now)
    found += guard(
        ["alert_webhook"],
        lambda: [installation_checks.check_alert_webhook(here, installation_checks.ask_for_headers)],
    )
    found += guard(["price_table"], lambda: [installation_checks.judge_prices(now().date())])
    return found, facts


def _check_fly_and_clocks(
    here: Surroundings,
    facts: Json | None,
    lead: timedelta | None,
    dates: Iterable[datetime],
    now: Callable[[], datetime],
) -> list[Check]:
    """`lead`: how far the database's clock is ahead of this one."""
    link = make_fly_link(here)
    settings, regions = (facts["settings"], facts["regions"] or []) if facts else (None, [])
    found = guard(FLY_NAMES, lambda: check_fly(link, here, settings, regions, now()))
    fly_lead = link.fly_clock.lead_over(now() + (lead or timedelta(0))) if link is not None and link.calls else None
    if link is not None:
        link.close()
    if lead is None:
        return [*found, not_checked("clocks", _OUT_OF_REACH, _DATABASE_FIRST)]
    return found + guard(["clocks"], lambda: [installation_checks.judge_clocks(now() + lead, now(), dates, fly_lead)])


def read_database(rpc: Rpc) -> tuple[list[Check], Json | None]:
    """The check `database`, those that the database makes, and its facts. If all together take too long, one after the other."""
    try:
        answer: Json = rpc("fly_doctor", {})
    except TransientError as error:
        if error.code == _CANCELLED:
            return _read_one_by_one(rpc)
        return _explain_no_database(
            str(error),
            "Check that the project in SUPABASE_URL is running (Supabase pauses idle projects), then run `hangar doctor` again",
        )
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
    checks = [Check(**check) for check in answer["checks"]]
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
