"""What an operator can do about a failure, what happens next to one user, and events in words. Pure.

The command line and the dashboard show the same advice. They differ only where it names a step: the command line names a
command in backticks, the dashboard names its own button or page.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.drift_text import format_next_repair
from shared.domain.entitlement import explain_unknown
from shared.domain.health_text import Surface, explain_symptom, name_new_name
from shared.domain.moments import read_moment


@dataclass(frozen=True)
class Advice:
    """What to do about one error code. `cli` and `dashboard` fill in `{step}`, the part that differs.

    `retry`: the operator has to start the next attempt, because Hangar does not retry this error.
    """

    text: str
    retry: bool = False
    cli: str = ""
    dashboard: str = ""

    def render(self, user: str, surface: Surface) -> str:
        step = self.cli if surface == "cli" else self.dashboard
        text = self.text.format(step=step.format(user=user))
        return f"{text}, then {_name_retry(user, surface)}" if self.retry else text


def _name_retry(user: str, surface: Surface) -> str:
    return f"run `hangar retry {user}`" if surface == "cli" else "press Retry now"


_AUTOMATIC = Advice(
    "nothing: Hangar retries automatically; {step} to try at once",
    cli="run `hangar retry {user}`",
    dashboard="press Retry now",
)
_READ_MESSAGE = Advice("read the error message and correct what it names", retry=True)
# By `error_code` (shared/domain/errors.py, shared/fly/errors.py).
_BY_CODE = {
    "image": Advice(
        "push the image, or correct its name in {step}",
        retry=True,
        cli="fly_plans.docker_image or with `hangar settings set default_image=…`",
        dashboard="the plans table or in the setting default_image",
    ),
    "size": Advice("give the plan in fly_plans a size that Fly offers", retry=True),
    "billing": Advice(
        "pay what is open at Fly, or add a payment method, on the organisation's billing page; nothing is destroyed, and "
        "Hangar then continues automatically"
    ),
    "quota": Advice(
        "ask Fly to raise the organisation's limit, or remove what is not needed; Hangar then continues automatically"
    ),
    "policy": Advice(
        "do what Fly asks for on the organisation's page (verification, support); Hangar then continues automatically"
    ),
    "token": Advice(
        "set FLY_API_TOKEN of the functions to a valid token of the organisation; Hangar then continues automatically"
    ),
    "org": Advice(
        "check FLY_ORG_SLUG of the functions against {step}; Hangar then continues automatically",
        cli="`hangar settings`",
        dashboard="the setting fly_org_slug on the Controls page",
    ),
    "name": Advice(
        "choose an app_prefix that Fly accepts{step}",
        retry=True,
        cli=" with `hangar settings set app_prefix=…`",
    ),
    "not_owned": Advice(
        "check that FLY_API_TOKEN belongs to fly_org_slug and that nobody re-created the app by hand; if the app was deleted "
        "and somebody else has its name now, {step}; otherwise correct the cause",
        retry=True,
        cli='run `hangar retry {user} --new-name --reason "…"`',
        dashboard="press Take a new name",
    ),
    "unsupported": Advice("check FLY_API_URL of the functions", retry=True),
    "not_fly": Advice(
        "check FLY_API_URL of the functions: what answers there is not Fly; Hangar then continues automatically"
    ),
    "refused": Advice(
        "Fly refused this request and its words say why: read the error message; Hangar retries automatically, {step} to "
        "try at once",
        cli="run `hangar retry {user}`",
        dashboard="press Retry now",
    ),
    "bug": Advice("this is a bug in Hangar: report it with the log lines around it"),
    "region_full": Advice(
        "nothing, or add a region to the list of the plan in fly_plans: Fly has no capacity in those it names; Hangar "
        "retries automatically"
    ),
    "host": _AUTOMATIC,
    "volume": _AUTOMATIC,
    "rate_limited": _AUTOMATIC,
    "start_failed": Advice(
        "find out why the machine stops{step}; Hangar replaces the machine after three failed starts",
        cli=" (`hangar logs {user}`)",
    ),
    "machine_failed": Advice(
        "find out why a new machine fails{step}; Hangar makes another one with each attempt",
        cli=" (`hangar logs {user}`)",
    ),
    "contradiction": Advice(
        "Fly's answers deny each other: Hangar keeps the app's name, creates no other app and retries automatically; if it "
        "lasts, look at the app on Fly and tell Fly's support"
    ),
    "two_machines": Advice(
        "destroy the machines that are not needed with `fly machine destroy`: Hangar creates none, and takes the one that is "
        "left; {step} to try at once",
        cli="run `hangar retry {user}`",
        dashboard="press Retry now",
    ),
    "no_progress": Advice("look at the app on Fly: something reverts what Hangar does; Hangar retries automatically"),
}
_BRAKE = {
    "many": "too many apps were removed in the last hour",
    "lost": "Fly has apps that this database has no rows for",
}


def advise(code: str | None, user: str, *, goes_on: bool, surface: Surface = "cli") -> str:
    """What to do about a failure with this code. `goes_on` means that Hangar has scheduled another attempt."""
    advice = _BY_CODE.get(code or "", _AUTOMATIC if goes_on else _READ_MESSAGE)
    return advice.render(user, surface)


def format_duration(seconds: float) -> str:
    """A duration for people: 42 s, 7 min, 3.5 h, 2 days."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"


def format_time(at: str | None, now: datetime) -> str:
    """A moment of the database's clock, relative to `now`: "in 42 s", "7 min ago", "-" for none."""
    if at is None:
        return "-"
    seconds = (datetime.fromisoformat(at) - now).total_seconds()
    return f"in {format_duration(seconds)}" if seconds > 0 else f"{format_duration(-seconds)} ago"


def format_next_step(
    user: Mapping[str, Any], settings: Mapping[str, Any], now: datetime, surface: Surface = "cli"
) -> str:
    """What happens next to this user (an answer of `fly_user_status`), when, and why."""
    row, is_cli = user["row"], surface == "cli"
    user_id = (row or user["last"] or {}).get("user_id", "USER")
    if row is None:
        return _format_without_row(user, settings, is_cli=is_cli)
    if row["desired_state"] == "legacy":
        return _format_legacy(user, is_cli=is_cli)
    if row["lease_holder"] and row["lease_expires_at"] and datetime.fromisoformat(row["lease_expires_at"]) > now:
        return f"{row['lease_holder']} is working on it now{_format_failed_attempts(row)}"
    if wrong := _explain_symptom(user, now, surface):
        return wrong
    if row["next_attempt_at"] is None:
        if row["status"] == "error":
            advice = advise(row["error_code"], user_id, goes_on=False, surface=surface)
            return f"Hangar waits for an operator: {advice}"
        if row.get("drift"):
            return format_next_repair(row, user.get("drift_held"), _name_retry(user_id, surface))
        return _format_at_rest(user)
    if held := _explain_hold(user, settings, now, is_cli=is_cli):
        return held
    when, is_due = format_time(row["next_attempt_at"], now), datetime.fromisoformat(row["next_attempt_at"]) <= now
    if row["status"] == "error":
        if is_due:
            return f"the next drain makes another attempt (due {when})"
        attempt = int(row["retry_count"]) + 1
        name = f". If somebody else has the app's name now, {name_new_name(user_id, surface)}"
        lost = name if row["error_code"] == "not_owned" else ""
        return f"attempt {attempt} {when}; {_name_retry(user_id, surface)} to try at once{lost}"
    goal = "removes the app" if row["desired_state"] == "absent" else "brings the app to its desired state"
    if is_due:
        return f"the next drain {goal}, within a minute (due {when})"
    return f"Hangar {goal} {when}"


def _format_legacy(user: Mapping[str, Any], *, is_cli: bool) -> str:
    """An app of the original system that no operator has decided about."""
    pays = {True: "the user is entitled", False: "the user is not entitled, and the app may still run and cost money"}
    adopt = f"hangar adopt {user['row']['user_id']}"
    step = f"`{adopt}` shows what it would change" if is_cli else "an operator adopts it with the command line"
    known = pays.get(user["entitled"], explain_unknown(user["why"]))
    return f"nothing: this is an app of the original system, which Hangar does nothing with ({known}); {step}"


def _format_at_rest(user: Mapping[str, Any]) -> str:
    """A row that needs no work now: up to date, or waiting for what only the host or an operator can say."""
    if user["entitled"] is None:
        return f"nothing changes: {explain_unknown(user['why'])}; every sweep looks again"
    if user["entitled"] is False and user["row"]["desired_state"] == "present":
        return "the user has lost entitlement; the next drain follows, unless a mass loss waits for an operator (see the alerts)"
    return "up to date; every sweep checks it again"


def _explain_symptom(user: Mapping[str, Any], now: datetime, surface: Surface) -> str | None:
    """What is wrong with an app that has no failure of its own."""
    row = user["row"]
    if user.get("token_refused") and row["status"] != "error" and row["observed_generation"] == row["generation"]:
        see = "see `hangar credentials`" if surface == "cli" else "see the alert about the signing key"
        return (
            "the project refuses the app's token, because it does not accept the key that signed it (any more): the app cannot "
            f"read its user's data. Hangar gives it a new token within minutes, unless something holds that: {see}"
        )
    symptom = user.get("symptom")
    return explain_symptom(symptom, user["row"], format_time(symptom["since"], now), surface) if symptom else None


def _explain_hold(user: Mapping[str, Any], settings: Mapping[str, Any], now: datetime, *, is_cli: bool) -> str | None:
    """Why a due row has to wait. None if it does not."""
    row = user["row"]
    if settings["paused"]:
        return f"Hangar is paused: nothing happens until somebody resumes it{' (`hangar resume`)' if is_cli else ''}"
    if row.get("hold_until") and datetime.fromisoformat(row["hold_until"]) > now:
        until = f"{read_moment(row['hold_until']):%H:%M:%S} UTC ({format_time(row['hold_until'], now)})"
        return f"the app keeps running until {until}; a renewal cancels its removal"
    if row["delete_after"] and datetime.fromisoformat(row["delete_after"]) > now:
        when = format_time(row["delete_after"], now)
        return f"the grace period ends {when}; then the app is deleted unless the user pays again"
    if row["desired_state"] != "absent":
        return _explain_cap(user, now, is_cli=is_cli)
    if settings["deletes_paused"]:
        step = " (`hangar settings set deletes_paused=false`)" if is_cli else ""
        return f"deletions are paused: the app is destroyed once somebody allows deletions again{step}"
    if user["brake"]:
        more = "`hangar brake` shows the details" if is_cli else "the Controls page shows the details"
        return f"the brake is on ({_BRAKE[user['brake']]}): the app is destroyed once somebody releases it; {more}"
    return None


def _explain_cap(user: Mapping[str, Any], now: datetime, *, is_cli: bool) -> str | None:
    """Which limit of the operator holds back this app. None if none does."""
    setting = {"max_apps": "max_apps", "max_cost": "max_monthly_cost_usd"}.get(user.get("cap") or "")
    if setting is None:
        return None
    step = f" (`hangar settings set {setting}=…`)" if is_cli else " on the Controls page"
    when = format_time(user["row"]["next_attempt_at"], now)
    return (
        f"the setting {setting} holds this back, and what runs stays as it is: Hangar tries again {when}, and continues "
        f"when another app is removed or an operator raises the limit{step}"
    )


def _format_failed_attempts(row: Mapping[str, Any]) -> str:
    failed = int(row["retry_count"])
    if not failed:
        return ""
    return f"; {failed} {'attempt has' if failed == 1 else 'attempts have'} failed so far: {row['error_message']}"


def _format_without_row(user: Mapping[str, Any], settings: Mapping[str, Any], *, is_cli: bool) -> str:
    if user["entitled"] is None:
        return f"nothing: {explain_unknown(user['why'])}; every sweep looks again"
    if not user["entitled"]:
        return "nothing: the user has no app and is not entitled to one"
    if settings["live"] or user["last"]:
        step = "`hangar sweep` runs one now" if is_cli else "Sweep now on the Controls page runs one"
        return f"the next sweep creates an app for this user ({step})"
    step = "`hangar migrate-users --apply --only USER` admits" if is_cli else "an override (Provision) admits"
    return f"nothing: Hangar is not live; {step} this user"


# In other events the actor is the worker that held the lease, which is of no use to the reader.
_BY_PEOPLE = (
    "settings_changed", "override_set", "recovery_attempted", "release_changed", "pin_set", "alert_handled", "plan_changed",
    "command_run", "token_revoked", "user_erased", "user_secret_changed", "adoption", "orphan_approved",
)  # fmt: skip


def format_event(event: Mapping[str, Any]) -> str:
    """The informative part of an event's metadata, and its error."""
    skipped = {"holder", "generation", "intent_id", "fly_request_id", "installation_id", "actor"}
    if event["event_type"] in _BY_PEOPLE:
        skipped.remove("actor")
    parts = [
        f"{key} {_format_value(value)}"
        for key, value in event["metadata"].items()
        if key not in skipped and value is not None
    ]
    return "; ".join([*parts, *([event["error_details"]] if event["error_details"] else [])])


def _format_value(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
