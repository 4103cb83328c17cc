"""The steps that every target has: the installation's settings, Vault, the schedule, the functions' addresses, first checks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.deploy.settings import FunctionSettings
from ops.deploy.steps import AddPlans, Probe, Schedule, SetSettings, Step, WriteEnvFile, WriteVault

FUNCTIONS = ("provision", "deprovision", "health", "admin")
CALLED = ("provision", "deprovision", "health")
JOBS = frozenset({"check-fly-apps-health", "hangar-drain"})
# What the schema starts with. It names no image of yours, so Hangar replaces it, and nothing that somebody has chosen.
_FIRST_IMAGE = "registry.fly.io/vyx-app:latest"
_NO_DATABASE = "no database URL is known. Run the SQL above in Supabase's SQL editor, or set SUPABASE_DB_URL and repeat"
_REPEAT_DATABASE = "check SUPABASE_DB_URL and that the role is postgres, then repeat"


@dataclass(frozen=True)
class InstallationState:
    """What the database holds now. None means that it could not be read from here."""

    settings: Mapping[str, Any] | None = None
    vault: Mapping[str, str] | None = field(default=None, repr=False)
    jobs: frozenset[str] | None = None
    functions_url_on_file: str | None = None
    installation_id_on_file: str | None = None
    plans: frozenset[str] | None = None

    @property
    def installation_id(self) -> str | None:
        """The id that ties the functions to this database."""
        return None if self.settings is None else str(self.settings["installation_id"])


@dataclass(frozen=True)
class Wanted:
    """What `hangar.toml` wants for the users' apps."""

    org: str
    image: str | None
    regions: str | None
    plans: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def plan_settings(wanted: Wanted, state: InstallationState) -> list[Step]:
    """Add the plans that are missing; write organisation, image and regions, if nobody has chosen an image yet."""
    plans = _plan_plans(wanted, state)
    if wanted.image is None:
        return plans
    values = {"fly_org_slug": wanted.org, "default_image": wanted.image}
    if wanted.regions:
        values["default_region"] = wanted.regions
    current = state.settings or {}
    chosen = bool(current) and current.get("default_image") != _FIRST_IMAGE
    return [
        *plans,
        Step(
            name="installation-settings",
            purpose="Set organisation, image and regions of the users' apps",
            action=SetSettings(values, {key: current.get(key) for key in values} if current else {}),
            check="the installation has an image of its own (change it with `hangar settings set` or a release)",
            repair="the message says which value was refused. Correct it in hangar.toml and repeat",
            done=chosen,
        ),
    ]


def _plan_plans(wanted: Wanted, state: InstallationState) -> list[Step]:
    missing = {tier: values for tier, values in wanted.plans.items() if tier not in (state.plans or ())}
    if not wanted.plans:
        return []
    return [
        Step(
            name="plans",
            purpose="Add the plans of hangar.toml that the installation does not have",
            action=AddPlans(missing or wanted.plans),
            check="it has a plan for each of these tiers (change one with `hangar plans set`)",
            repair="the message says which value was refused. Correct it in hangar.toml and repeat",
            done=not missing,
        )
    ]


def plan_vault(settings: FunctionSettings, urls: Mapping[str, str], state: InstallationState) -> Step:
    """Give the database the functions' addresses and the webhook secret."""
    called = json.dumps({name: urls[name] for name in CALLED})
    values = {
        "hangar_functions_url": called,
        "hangar_webhook_secret": settings.secret["HANGAR_WEBHOOK_SECRET"],
    }
    names = {
        "hangar_functions_url": called,
        "hangar_webhook_secret": "HANGAR_WEBHOOK_SECRET of .env.hangar",
    }
    known = state.vault
    done = None if known is None else all(known.get(name) == value for name, value in values.items())
    return Step(
        name="vault",
        purpose="Let the database call the functions: their addresses and the webhook secret, in Supabase's Vault",
        action=WriteVault(values, names),
        check="Vault holds these two values",
        repair=_REPEAT_DATABASE,
        done=done,
        by_hand=_NO_DATABASE if known is None else None,
    )


def plan_schedule(state: InstallationState) -> Step:
    """The schedule is pg_cron's, in the database: a drain each minute, a sweep every five."""
    return Step(
        name="schedule",
        purpose="Let pg_cron call the health function: what is due each minute, a sweep every five minutes",
        action=Schedule(),
        check="both jobs exist and are active",
        repair="enable the extension pg_cron (Supabase: Database, Extensions), then repeat",
        done=None if state.jobs is None else state.jobs >= JOBS,
        by_hand=_NO_DATABASE if state.jobs is None else None,
    )


def plan_env_file(urls: Mapping[str, str], state: InstallationState) -> Step:
    """The commands of `hangar` that call a function need its address, and `hangar doctor` compares the installation."""
    value = json.dumps({name: urls[name] for name in CALLED}, separators=(",", ":"))
    values = {"HANGAR_FUNCTIONS_URL": value}
    if state.installation_id:
        values["HANGAR_INSTALLATION_ID"] = state.installation_id
    return Step(
        name="command-line",
        purpose="Let the command line call the functions (`hangar sweep`, `hangar retry`)",
        action=WriteEnvFile(values),
        check="HANGAR_FUNCTIONS_URL and HANGAR_INSTALLATION_ID of .env.hangar are these addresses and this installation",
        repair=f"make the current folder writable, or set {' and '.join(values)} yourself, then repeat",
        done=state.functions_url_on_file == value and state.installation_id in (None, state.installation_id_on_file),
    )


def plan_probes(urls: Mapping[str, str], show_logs: Mapping[str, str]) -> list[Step]:
    """One request to each function. 401 means: it runs, its settings are valid, and it refuses strangers."""
    steps = []
    for name in FUNCTIONS:
        is_admin = name == "admin"
        method, expected = ("GET", (200, 302, 303)) if is_admin else ("POST", (401,))
        steps.append(
            Step(
                name=f"check-{name}",
                purpose=f"Check that {name} answers"
                + ("" if is_admin else " and refuses callers without authentication"),
                action=Probe(method, f"{urls[name]}/", expected),
                check="never: the check always runs",
                repair=f"read its log: `{show_logs[name]}`. A missing or wrong setting has one line there",
                done=False,
            )
        )
    return steps


def check_installation(wanted: Wanted, state: InstallationState, names: Mapping[str, str]) -> list[str]:
    """What forbids this deployment, one line for each reason."""
    current = state.settings
    if current is None:
        return []
    problems = []
    if state.installation_id_on_file not in (None, state.installation_id):
        problems.append(
            f"HANGAR_INSTALLATION_ID of .env.hangar is {state.installation_id_on_file}, and the database is "
            f"{state.installation_id}: it is another database, or was restored from another one. Correct SUPABASE_URL, or remove "
            "the line HANGAR_INSTALLATION_ID if this database is meant (docs/operating.md)"
        )
    org = current.get("fly_org_slug")
    if current.get("default_image") != _FIRST_IMAGE and org != wanted.org:
        problems.append(
            f"FLY_ORG_SLUG is {wanted.org}, but the installation has fly_org_slug={org}. They must be equal: correct "
            f"FLY_ORG_SLUG in hangar.toml, or run `hangar settings set fly_org_slug={wanted.org}`"
        )
    if current.get("default_image") == _FIRST_IMAGE and wanted.image is None:
        problems.append(
            "no image for the users' apps is chosen: set [backend] image in hangar.toml (`hangar init` asks for it)"
        )
    prefix = str(current.get("app_prefix", ""))
    problems += [
        f"{name} begins like the users' apps (app_prefix={prefix}), so Hangar would take it for one of them. Choose another name"
        for name in names.values()
        if prefix and name.startswith(prefix)
    ]
    return problems
