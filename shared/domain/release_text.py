"""Releases and pins in words. Pure. No sentence names a command or a button."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain.cost import format_size_of
from shared.domain.moments import format_moment
from shared.domain.remediation import format_time

# Why a release that is rolling moves nothing now (`held_by`).
HOLDS = {
    "paused": "Hangar is paused",
    "installation": "the database belongs to another installation",
    "fly_unreachable": "Fly does not answer",
    "fly_refused": "Fly refuses the organisation's calls",
    "brake": "the brake is on",
    "deletes_paused": "deletions are paused",
    "incident": "many apps are broken at once, and not because of this release",
}
# Why an app was left out, was skipped, has failed or is not done yet, by `left_out` of a dry run and `code` of a target. The
# target's own `reason` says what was found; an error code of Fly or of a row may stand here too.
REASONS = {
    # left out, or skipped before anything moved
    "held_back": "held back until a date that an operator has set for this user",
    "pinned": "an operator has pinned what the release would change",
    "other_release": "another release is moving the app",
    "on_demand": "Fly itself starts the machine of an on-demand app, so it is not moved to another region",
    "already": "the app already is as the release wants it",
    "left": "the user is no longer entitled to an app",
    "changed": "the user has another plan by now",
    "moved": "the app is in another region by now",
    "replaced": "something else has replaced what the release gave",
    "later": "a later release has moved the app, so the app keeps what that one has changed",
    "ended": "the release ended before its turn came",
    "again": "what kept the app out of the release has ended, so it joins at the end",
    "not_settled": "Hangar is still changing the app for another reason",
    "busy": "the app was busy or not running for as long as its wave lasted",
    # what a look at the machine has found
    "machine_failed": "the machine does not start",
    "exited": "the program has ended by itself",
    "out_of_memory": "the program needs more memory than the machine has",
    "crash_loop": "the program does not stay up",
    "not_running": "the machine is not running",
    "other_image": "the machine runs another image than the release's",
    "wrong_digest": "the machine runs another build of the image",
    "other_size": "the machine has another size than the release's",
    "other_env": "the machine has other variables than the release's",
    "not_updated": "Fly has not taken the update over",
    "check_critical": "a health check fails",
    "check_warning": "a health check warns",
    "check_unknown": "a health check has no clear result",
    "check_missing": "a health check has no result",
    "wrong_user": "the program answers for another user",
    "old_version": "the program reports another version than the release's",
    "restarted": "the machine was started once more, to prove that it starts again",
    "unproven": "updated while it was stopped, as its plan allows; it proves itself at its next start",
    "unhealthy": "the app is unhealthy since it was updated",
    "deadline": "the app did not become good in time",
    "token_refused": "the project refuses the app's token, so nothing is known until the app has a new one",
    "host_unreachable": "Fly cannot reach the machine's host, so nothing is known",
    "unreadable": "Fly's answer about the machine cannot be read, so nothing is known",
    "max_cost": "the operator's cap on the monthly cost allows no larger machine",
    # the error of the row
    "image": "Fly cannot pull the image",
    "size": "Fly does not offer this machine size",
    "start_failed": "the machine does not start",
    "no_progress": "something reverts what Hangar changes",
    "refused": "Fly refuses the change",
    "unsupported": "the address of Fly's API is wrong",
    "region_full": "Fly has no room in the region",
    "host": "the machine's host has no room now",
    "volume": "Fly has no room for the volume",
    "quota": "the organisation has reached a limit of Fly",
    "billing": "Fly asks the organisation to pay",
    "policy": "Fly asks the organisation to do something first",
    "token": "Fly rejects the token",
    "org": "Fly does not know the organisation",
    "rate_limited": "Fly asks to send fewer calls",
    "leased": "somebody else is changing the machine",
    "conflict": "somebody else is changing the machine",
    "settling": "Fly is still changing the machine",
    "started": "Fly is still starting the machine",
    "exists": "Fly already has a machine of this name",
    "name": "Fly does not accept the app's name",
    "name_taken": "the app's name is taken on Fly",
    "not_fly": "what answers at the address of Fly's API is not Fly",
    "not_owned": "the app on Fly belongs to somebody else",
    "gone": "the machine or app is gone from Fly",
    "two_machines": "the adopted app has several machines, and Hangar knows none of them",
    "outcome_unknown": "Fly did not say whether the change was made",
    "failed": "the release has failed for the app",
}


def explain_code(code: str) -> str:
    """What a reason code means, as part of a sentence. A code that is not listed is shown as words."""
    return REASONS.get(code, code.replace("_", " "))


def name_wave(wave: int | None) -> str:
    """The wave as a word: wave 0 is the canary, and an app that is in no wave has a dash."""
    return "-" if wave is None else "canary" if wave == 0 else f"wave {wave}"


def format_changes(release: Mapping[str, Any]) -> str:
    """What a release changes, from its `kind` and `changes`. Of the environment only the names are known."""
    if release["kind"] == "plan":
        return "what each app's plan says"
    changes = release["changes"]
    parts = [changes["image"]] if "image" in changes else []
    parts += [f"moves to {changes['region']}"] if "region" in changes else []
    parts += [size] if (size := format_size_of(changes)) else []
    parts += [f"env {', '.join(changes['env'])}"] if changes.get("env") else []
    return "; ".join(parts)


def shorten_image(image: str | None) -> str:
    """An image for people: a digest is cut to its first twelve characters."""
    name, at, digest = (image or "nothing yet").partition("@")
    kind, colon, value = digest.partition(":")
    return f"{name}{at}{kind}{colon}{value[:12]}"


def format_left_out(code: str | None) -> str:
    """Why a release does not move an app."""
    return explain_code(code) if code else "-"


def format_user_release(release: Mapping[str, Any] | None) -> str | None:
    """The release that moves one app, from `release` of fly_user_status. None if there is none."""
    if release is None:
        return None
    name = f"release {release['id']}"
    held = f"; held because {HOLDS.get(release['held_by'], release['held_by'])}" if release["held_by"] else ""
    if release["left_out"]:
        return f"{name} leaves this app out: {format_left_out(release['code'])}{held}"
    state = f"{release['state']}, goes back to what ran before" if release["goes_back"] else release["state"]
    paused = " (the release is paused)" if release["release_state"] == "paused" else ""
    reason = f"; {release['reason']}" if release["reason"] else ""
    return (
        f"{name}, {name_wave(release['wave'])}: {state}{paused}; runs {shorten_image(release['running'])}, "
        f"should run {shorten_image(release['should_run'])}{reason}{held}"
    )


def format_kept(release: Mapping[str, Any]) -> str | None:
    """What a rollback has left in plans and settings because it was changed after the release. None if nothing."""
    if not release.get("kept"):
        return None
    return (
        f"Changed since the release was started, so it stays: {'; '.join(_name_kept(each) for each in release['kept'])}"
    )


def _name_kept(kept: Mapping[str, Any]) -> str:
    place = f"plan {kept['tier']}" if "tier" in kept else "default"
    if kept["what"] == "env":
        return f"{place}, env {', '.join(kept['names'])}"
    return f"{place}, {kept['what']} {kept['value'] or 'removed'}"


def is_in_force(pin: Mapping[str, Any], now: datetime) -> bool:
    """Whether a pin has not ended."""
    return "ends_at" not in pin or datetime.fromisoformat(pin["ends_at"]) > now


def list_pinned(pin: Mapping[str, Any], now: datetime) -> list[str]:
    """What a pin (`pin` of fly_user_status) fixes: image, size, names of variables, and how long releases stay away."""
    size = format_size_of(pin)
    parts = [f"image {pin['image']}"] if "image" in pin else []
    parts += [size] if size else []
    parts += [f"env {', '.join(pin['env'])}"] if pin.get("env") else []
    if until := pin.get("held_back_until"):
        is_over = datetime.fromisoformat(until) <= now
        parts.append(f"no release until {format_moment(until)}{' (over)' if is_over else ''}")
    return parts


def format_pin(pin: Mapping[str, Any] | None, now: datetime) -> str | None:
    """The pin of one user with reason, author and end. None if there is none."""
    if pin is None:
        return None
    end = f", until {format_moment(pin['ends_at'])} ({format_time(pin['ends_at'], now)})" if "ends_at" in pin else ""
    over = "" if is_in_force(pin, now) else "ended: "
    reason = pin.get("reason") or "no reason given"
    return f"{over}{'; '.join(list_pinned(pin, now)) or 'nothing'}{end}: {reason} (by {pin['actor']})"


def format_differing(differ: Mapping[str, Any]) -> str | None:
    """How many apps differ from their plan, from `differ` of fly_releases. None if there are none."""
    apps = int(differ["apps"])
    if not apps:
        return None
    noun, verb = ("app", "differs") if apps == 1 else ("apps", "differ")
    their = "its" if apps == 1 else "their"
    return f"{apps} {noun} {verb} from {their} plan (for example {', '.join(differ['examples'])})"
