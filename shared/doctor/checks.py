"""One check of `hangar doctor`, and the names of all checks in the order in which they are shown.

docs/doctor.md has a heading for each name; a test compares both. The database makes its checks itself (`fly_doctor`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "wrong"]

# What is made outside the database, with what is looked at.
OUTSIDE: Mapping[str, str] = {
    "environment": "the variables of this shell, by their form",
    "database": "whether the database answers with this key",
    "publishable_key": "whether Supabase accepts SUPABASE_PUBLISHABLE_KEY",
    "signing_key": "whether the project accepts the key in HANGAR_USER_TOKEN_KEY",
    "schema": "the tables, functions, triggers, indexes and policies, compared with the migration files of this version",
    "installation_id": "HANGAR_INSTALLATION_ID and the database's installation_id",
    "webhook_secret": "HANGAR_WEBHOOK_SECRET and the secret in Vault",
    "functions_url": "HANGAR_FUNCTIONS_URL and the URLs in Vault",
    "function_provision": "the function at its URL in Vault, with a wrong and a right signature",
    "function_deprovision": "the function at its URL in Vault, with a wrong and a right signature",
    "function_health": "the function at its URL in Vault, with a wrong and a right signature",
    "functions_code": "which code the functions run",
    "clocks": "the clocks of the database, this machine, the functions and Fly",
    "fly_token": "whether Fly accepts FLY_API_TOKEN",
    "fly_token_expiry": "the end that is written in FLY_API_TOKEN",
    "fly_token_scope": "what FLY_API_TOKEN may do, and for which organisation",
    "fly_organisation": "whether Fly lists the apps of the organisation in the settings",
    "fly_regions": "Fly's own list of regions",
    "closed_apps": "whether apps are still on Fly whose rows the original system closed",
    "images": "the default image and those of the plans, in their registries",
    "alert_webhook": "whether the receivers in HANGAR_ALERT_WEBHOOK_URL answer",
    "price_table": "the age of Fly's price list in this version",
}
# What the database checks, in the order of `hangar.doctor_names()`.
DATABASE: tuple[str, ...] = (
    *(
        "statement_timeout",
        "database_clock",
        "installation",
        "settings",
        "live",
        "paused",
        "brake",
        "caps",
        "operators",
    ),
    *("procedure_rights", "table_rights", "row_security", "own_triggers", "shape", "counters", "advisors"),
    *("binding", "host_triggers", "statuses", "tiers", "ends", "plans", "plan_prices"),
    *(
        "pg_cron",
        "cron_sweep",
        "cron_drain",
        "pg_net",
        "vault_functions_url",
        "vault_webhook_secret",
        "webhook_delivery",
    ),
    *(
        "sweep",
        "changes",
        "organisation",
        "full_regions",
        "legacy_apps",
        "retention",
        "failures",
        "alert_delivery",
        "open_alerts",
    ),
)


_NOT_CHECKED = "not checked: "


@dataclass(frozen=True)
class Check:
    """The answer of one check. `remedy` is the command that ends the problem; None only if the check is ok."""

    name: str
    state: State
    found: str
    remedy: str | None = None

    @property
    def was_made(self) -> bool:
        """Whether there was an answer at all."""
        return not self.found.startswith(_NOT_CHECKED)

    def as_json(self) -> dict[str, Any]:
        """As `hangar doctor --json` shows it."""
        return {"name": self.name, "state": self.state, "found": self.found, "remedy": self.remedy}


def ok(name: str, found: str) -> Check:
    """The check found nothing to do."""
    return Check(name, "ok", found)


def warning(name: str, found: str, remedy: str) -> Check:
    """Something is unusual or will become wrong."""
    return Check(name, "warning", found, remedy)


def wrong(name: str, found: str, remedy: str) -> Check:
    """Something is wrong."""
    return Check(name, "wrong", found, remedy)


def not_checked(name: str, why: str, remedy: str) -> Check:
    """The check could not be made, which is never ok."""
    return Check(name, "warning", f"{_NOT_CHECKED}{why}", remedy)


def guard(names: Iterable[str], run: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks that `run` makes. If it fails, or leaves one of `names` out, that check is `not_checked`."""
    found: list[Check] = []
    return add_missing(names, found, collect(run, found))


def collect(run: Callable[[], Iterable[Check]], found: list[Check]) -> str:
    """Append the checks that `run` makes to `found`, one by one. Why the others are missing, if some are."""
    try:
        for check in run():
            found.append(check)  # noqa: PERF402  the checks before a failure are kept
    except Exception as error:  # noqa: BLE001  the other checks must still run; only the kind is shown, for a text may hold a key
        return f"an unexpected {type(error).__name__}"
    return "no answer"


def add_missing(names: Iterable[str], found: Iterable[Check], why: str) -> list[Check]:
    """The checks, and `not_checked` for each of `names` that is not among them."""
    made = list(found)
    known = {check.name for check in made}
    return made + [not_checked(name, why, "Run `hangar doctor` again") for name in names if name not in known]


def count_states(checks: Iterable[Check]) -> dict[str, int]:
    """How many checks are ok, a warning and wrong."""
    states = [check.state for check in checks]
    return {state: states.count(state) for state in ("ok", "warning", "wrong")}
