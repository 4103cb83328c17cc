"""What an operator can do, by the code of a failure and by the state of one app. Command line and dashboard say it. Pure."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_AGAIN = "then `hangar retry {user}`"
_BY_ITSELF = "nothing: Hangar tries again by itself; `hangar retry {user}` tries at once"
_BRAKE = {
    "many": "too many apps were taken away in the last hour",
    "lost": "Fly has apps whose rows this database never had",
}
# By `error_code` (shared/domain/errors.py, shared/fly/errors.py).
_BY_CODE = {
    "image": f"push the image, or correct it (`hangar settings set default_image=…`, or fly_plans.docker_image), {_AGAIN}",
    "size": f"give the plan in fly_plans a size that Fly offers, {_AGAIN}",
    "quota": f"ask Fly to raise the organisation's quota or add a payment method, {_AGAIN}",
    "auth": "set FLY_API_TOKEN of the functions to a valid organisation token; Hangar then goes on by itself",
    "org": "check FLY_ORG_SLUG of the functions and `hangar settings`; Hangar then goes on by itself",
    "name": f"choose an app_prefix that Fly takes (`hangar settings set app_prefix=…`), {_AGAIN}",
    "not_ours": f"check that FLY_API_TOKEN belongs to fly_org_slug and that nobody re-created the app by hand, {_AGAIN}",
    "unsupported": f"check FLY_API_URL of the functions, {_AGAIN}",
    "not_fly": "check FLY_API_URL of the functions: something that is not Fly answers there; Hangar then goes on by itself",
    "bad_request": f"read the message: Fly does not accept this request; mend plan or settings, {_AGAIN}",
    "bug": "report it with the log lines around it: this is a mistake in Hangar",
    "region": "nothing, or choose another region in fly_plans: Fly has no room there; Hangar tries again by itself",
    "host": _BY_ITSELF,
    "volume": _BY_ITSELF,
    "rate_limited": _BY_ITSELF,
    "start_failed": "look why the machine does not stay up (`fly logs`); Hangar replaces it after three failed starts",
    "no_progress": "look at the app on Fly: something undoes what Hangar does; Hangar tries again by itself",
}


def advise(code: str | None, user: str, *, goes_on: bool) -> str:
    """What to do about a failure with this code; `goes_on` = Hangar has a next attempt scheduled."""
    word = _BY_CODE.get(code or "", _BY_ITSELF if goes_on else f"read the message, mend what it names, {_AGAIN}")
    return word.format(user=user)


def format_duration(seconds: float) -> str:
    """A span for people: 42 s, 7 min, 3.5 h, 2 days."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"


def format_time(at: str | None, now: datetime) -> str:
    """A moment of the database's clock seen from `now`: "in 42 s", "7 min ago", "-" for none."""
    if at is None:
        return "-"
    seconds = (datetime.fromisoformat(at) - now).total_seconds()
    return f"in {format_duration(seconds)}" if seconds > 0 else f"{format_duration(-seconds)} ago"


def format_next_step(told: Mapping[str, Any], settings: Mapping[str, Any], now: datetime) -> str:
    """What happens next to this user (as `fly_user_status` tells it), when, and why."""
    row, user = told["row"], (told["row"] or told["last"] or {}).get("user_id", "USER")
    if row is None:
        return _format_without_row(told, settings)
    if row["lease_holder"] and row["lease_expires_at"] and datetime.fromisoformat(row["lease_expires_at"]) > now:
        return f"{row['lease_holder']} is working on it right now{_format_failed(row)}"
    if row["next_attempt_at"] is None:
        if row["status"] == "error":
            return f"nothing by itself, it waits for a person: {advise(row['error_code'], user, goes_on=False)}"
        return "nothing is to be done; each sweep looks whether that stays so"
    when = format_time(row["next_attempt_at"], now)
    if settings["paused"]:
        return "nothing until `hangar resume`: Hangar is paused"
    absent, due = row["desired_state"] == "absent", datetime.fromisoformat(row["next_attempt_at"]) <= now
    if row["delete_after"] and datetime.fromisoformat(row["delete_after"]) > now:
        return f"its grace ends {format_time(row['delete_after'], now)}; then the app is deleted unless the user pays again"
    if absent and settings["deletes_paused"]:
        return "nothing is destroyed until deletions are allowed again (`hangar settings set deletes_paused=false`)"
    if absent and told["brake"]:
        return f"nothing is destroyed while the brake is on ({_BRAKE[told['brake']]}); `hangar brake` tells more"
    if row["status"] == "error":
        word = f"another attempt, {when} (attempt {int(row['retry_count']) + 1})"
        return (
            f"{word}; at once with `hangar retry {user}`"
            if not due
            else f"another attempt with the next drain (due {when})"
        )
    goal = "is taken away" if absent else "is made true"
    return f"it {goal} with the next drain, within a minute (due {when})" if due else f"it goes on {when}"


def _format_failed(row: Mapping[str, Any]) -> str:
    failed = int(row["retry_count"])
    if not failed:
        return ""
    return f"; {failed} {'attempt has' if failed == 1 else 'attempts have'} failed so far: {row['error_message']}"


def _format_without_row(told: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if told["entitled"] is None:
        return "nothing: the tier is not in fly_plans; add it there and the next sweep decides"
    if not told["entitled"]:
        return "nothing: no app, and none is due"
    if settings["live"] or told["last"]:
        return "the next sweep gives this user an app (`hangar sweep` runs one now)"
    return "nothing: Hangar is not live; `hangar migrate-users --apply --only USER` admits this user"


# Elsewhere the actor is the worker that held the lease, which tells nobody anything.
_BY_PEOPLE = ("settings_changed", "override_set", "recovery_attempted")


def format_event(event: Mapping[str, Any]) -> str:
    """The telling part of an event's metadata, and the error."""
    skipped = {"holder", "generation", "intent_id", "fly_request_id", "installation_id", "actor"}
    if event["event_type"] in _BY_PEOPLE:
        skipped.remove("actor")
    told = [
        f"{key} {_flat(value)}" for key, value in event["metadata"].items() if key not in skipped and value is not None
    ]
    return "; ".join([*told, *([event["error_details"]] if event["error_details"] else [])])


def _flat(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
