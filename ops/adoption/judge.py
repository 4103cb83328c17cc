"""What can be decided about one app of the original system, by what Fly says about it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from shared.adapters.procedures_adoption import LegacyApp
from shared.domain.cost import format_size, list_price_monthly_usd, to_cents
from shared.domain.drift import find_listed_drift
from shared.domain.entitlement import explain_unknown
from shared.domain.machine_config import INSTALLATION_KEY, ROW_KEY
from shared.domain.models import Settings
from shared.domain.naming import read_proof
from shared.domain.regions import split_preference
from shared.domain.remediation import format_duration
from shared.fly.models import FlyApp, FlyMachine

Verdict = Literal["adopt", "close", "cannot"]


@dataclass(frozen=True)
class Look:
    """What Fly says: the app (None: a direct 404), whether the organisation's list has it, and its machines.

    `is_foreign`: Fly says that another organisation has the name.
    """

    app: FlyApp | None = None
    is_listed: bool = False
    is_foreign: bool = False
    machines: tuple[FlyMachine, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What may be decided, why, and what follows. `notes` are for the operator; they forbid nothing."""

    verdict: Verdict
    code: str
    reason: str
    notes: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    afterwards: str = ""
    cost_now_usd: str | None = None
    cost_after_usd: str | None = None


def judge(legacy: LegacyApp, look: Look, settings: Settings, today: date, *, is_known_gone: bool = False) -> Judgement:
    """The decision that is possible now. The first obstacle wins.

    `is_known_gone`: an operator knows that an app of another organisation, which Fly does not show here, is gone there too.
    """
    obstacle = _find_obstacle(legacy, look, settings, is_known_gone=is_known_gone)
    if obstacle is not None:
        return Judgement("cannot", *obstacle, cost_now_usd=_price_now(look.machines, today))
    if look.app is None:
        return Judgement(
            "close", "gone", "Fly has no such app: a direct read and the list of the organisation agree",
            afterwards=_after_closing(legacy, settings),
            cost_after_usd=_price_wanted(legacy, None, today),
        )  # fmt: skip
    machine = look.machines[0] if look.machines else None
    ready = ("ready", "the app is in the organisation and has one machine")
    empty = ("no_machine", "the app is in the organisation and has no machine")
    return Judgement(
        "adopt",
        *(ready if machine else empty),
        notes=_list_notes(legacy, machine, settings),
        drift=_find_drift(legacy, machine) if machine else (),
        afterwards=_after_adoption(legacy, machine),
        cost_now_usd=_price_now(look.machines, today),
        cost_after_usd=_price_wanted(legacy, machine, today),
    )


def _find_obstacle(legacy: LegacyApp, look: Look, settings: Settings, *, is_known_gone: bool) -> tuple[str, str] | None:
    """Why nothing can be decided, as a code and a sentence."""
    row, org, name = legacy.row, settings.fly_org_slug, legacy.row.fly_app_name
    move = f"If the app is yours, move it with `fly apps move {name} --org {org}`, then run this again"
    if look.is_foreign or (look.app is not None and look.app.org_slug not in ("", org)):
        return "other_org", f"the app {name} belongs to another organisation than {org}. {move}"
    if look.app is None and look.is_listed:
        return "contradiction", "Fly's list has the app and a direct read does not find it. Run this again in a minute"
    if look.app is None:
        if row.fly_org_slug != org and not is_known_gone:
            return "other_org", (
                f"the row says that the app is in the organisation {row.fly_org_slug}, and this command sees {org} only. {move}. "
                "If it is gone there too, add --gone"
            )
        return None
    if legacy.is_closed:
        return "closed_but_exists", (
            "the original system closed this row, and the app is still on Fly and costs money. Destroy it: "
            f"`fly apps destroy {name}`"
        )
    if not look.app.id:
        return "no_app_id", "Fly shows no id of the app, by which Hangar would prove that it is the same app later"
    if look.app.network != row.network and read_proof(look.app.network) is not None:
        return (
            "foreign_network",
            f"the app is on the network {look.app.network}, which is that of another row or installation of Hangar",
        )
    return _find_obstacle_in_machines(legacy, look.machines, settings)


def _find_obstacle_in_machines(
    legacy: LegacyApp, machines: Sequence[FlyMachine], settings: Settings
) -> tuple[str, str] | None:
    name = legacy.row.fly_app_name
    if len(machines) > 1:
        listed = ", ".join(f"{each.id} ({each.raw_state or each.state}, {each.region})" for each in machines)
        return "two_machines", (
            f"the app has {len(machines)} machines, and Hangar keeps one: {listed}. Destroy those that are not needed: "
            f"`fly machine destroy ID -a {name}`"
        )
    for machine in machines:
        if machine.host_status != "ok" or machine.incomplete:
            return (
                "host_unreachable",
                f"Fly cannot reach the host of the machine {machine.id}, so nothing is known about it. Run this again later",
            )
        row_mark, installation = machine.metadata.get(ROW_KEY), machine.metadata.get(INSTALLATION_KEY)
        if row_mark not in (None, str(legacy.row.id)) or installation not in (None, str(settings.installation_id)):
            return "foreign_metadata", (
                f"the machine {machine.id} carries the marks of another row or installation of Hangar ({ROW_KEY} {row_mark}, "
                f"{INSTALLATION_KEY} {installation}). Find out whose it is; remove the marks only if nobody uses them"
            )
        runs_for = (machine.config.get("env") or {}).get("USER_ID")
        if runs_for is not None and str(runs_for).lower() != str(legacy.row.user_id):
            return (
                "other_user",
                f"the machine {machine.id} runs for the user {runs_for}, and the row is of {legacy.row.user_id}",
            )
    return None


def _list_notes(legacy: LegacyApp, machine: FlyMachine | None, settings: Settings) -> tuple[str, ...]:
    notes = []
    if machine and legacy.event_machine_id and legacy.event_machine_id != machine.id:
        notes.append(
            f"the log of the original system names the machine {legacy.event_machine_id}, and the app has {machine.id} now"
        )
    if machine and machine.state != "started":
        notes.append(f"the machine is {machine.raw_state or machine.state}")
    if legacy.row.fly_org_slug != settings.fly_org_slug:
        notes.append(f"the row says organisation {legacy.row.fly_org_slug}, Fly says {settings.fly_org_slug}")
    if legacy.original_deleted_at and not legacy.is_closed:
        notes.append(
            f"the original system marked the row as deleted at {legacy.original_deleted_at}, and then as {legacy.original_status}"
        )
    if machine and machine.metadata.get(ROW_KEY) == str(legacy.row.id):
        notes.append("the machine has Hangar's marks already: an earlier run ended before it recorded the decision")
    return tuple(notes)


def _find_drift(legacy: LegacyApp, machine: FlyMachine) -> tuple[str, ...]:
    """How the machine differs from the plan. Environment, checks and stop rules of the original system always differ."""
    if legacy.wanted is None:
        return ()
    wanted = legacy.row.model_copy(
        update={key: legacy.wanted[key] for key in ("region", "docker_image", "cpu_kind", "cpu_count", "memory_mb")}
    )
    guest = {"cpu_kind": machine.cpu_kind, "cpus": machine.cpus, "memory_mb": machine.memory_mb}
    found = find_listed_drift(wanted, machine.image, guest, machine.region, machine.image_digest)
    return tuple(f"{each.kind}: {each.text}" for each in found)


def _after_adoption(legacy: LegacyApp, machine: FlyMachine | None) -> str:
    if legacy.entitled is None:
        return f"the app stays as it is, because {explain_unknown(legacy.why)}"
    if legacy.entitled:
        if machine is None:
            return "Hangar creates a machine in the app"
        return (
            "the machine runs on. Later Hangar updates it in place, a few apps at a time as for any drift: with the plan's image "
            "and size, Hangar's environment, checks and token (`drift_share` and `token_renewal_share` set the pace; with 0 for "
            "both the machine stays as it is)"
        )
    return f"the user is not entitled ({legacy.why}): Hangar removes the app {_time_of_removal(legacy, machine)}"


def _time_of_removal(legacy: LegacyApp, machine: FlyMachine | None) -> str:
    """As hangar.make_absent decides it: a deleted user has neither hold nor grace, one whom an operator denies has no hold."""
    # Without a machine nothing runs that the hold could keep.
    is_held = legacy.why not in ("user_deleted", "override_deny") and machine is not None
    waits = ["the removal hold"] if is_held else []
    if legacy.grace_s and legacy.why != "user_deleted":
        waits.append(f"the grace of {format_duration(legacy.grace_s)}")
    return f"after {' and '.join(waits)}" if waits else "at once"


def _after_closing(legacy: LegacyApp, settings: Settings) -> str:
    if legacy.is_closed:
        return "nothing: the row was closed already"
    if legacy.entitled and not legacy.other_app:
        return "Hangar creates a new app for the user, who is entitled"
    return "nothing: the user gets no app" if settings.live or not legacy.entitled else "nothing"


def _price_now(machines: Sequence[FlyMachine], today: date) -> str | None:
    running = [each for each in machines if each.state == "started" and each.cpus > 0]
    total = Decimal(0)
    for each in running:
        if each.cpu_kind not in ("shared", "performance"):
            return None
        kind: Literal["shared", "performance"] = "performance" if each.cpu_kind == "performance" else "shared"
        total += list_price_monthly_usd(kind, each.cpus, each.memory_mb, each.region, today)
    return str(to_cents(total))


def _price_wanted(legacy: LegacyApp, machine: FlyMachine | None, today: date) -> str | None:
    """By Fly's list price, with the machine's region if there is one. "0.00" for a user who is not entitled, None if unknown."""
    if legacy.entitled is None:
        return None
    if legacy.wanted is None or legacy.other_app:
        return "0.00"
    wanted = legacy.wanted
    region = machine.region if machine else split_preference(wanted["region"])[0]
    return str(
        to_cents(list_price_monthly_usd(wanted["cpu_kind"], wanted["cpu_count"], wanted["memory_mb"], region, today))
    )


def describe_machine(machine: FlyMachine) -> str:
    """What runs, for people: state, size, region and image."""
    size = format_size(machine.cpu_kind, machine.cpus, machine.memory_mb)
    return f"{machine.id}, {machine.raw_state or machine.state}, {size}, {machine.region}, {machine.image}"
