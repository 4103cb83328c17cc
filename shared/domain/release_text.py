"""Releases and pins in words. Pure. No sentence names a command or a button."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

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
# Why a release leaves an app out (`left_out` of a dry run, `code` of a skipped target).
LEFT_OUT = {
    "held_back": "held back until a date",
    "pinned": "pinned",
    "other_release": "part of another release",
    "already": "already as the release wants it",
}


def name_wave(wave: int | None) -> str:
    """The wave as a word: wave 0 is the canary, and an app that is in no wave has a dash."""
    return "-" if wave is None else "canary" if wave == 0 else f"wave {wave}"


def format_changes(release: Mapping[str, Any]) -> str:
    """What a release changes, from its `kind` and `changes`. Of the environment only the names are known."""
    if release["kind"] == "plan":
        return "what each app's plan says"
    changes = release["changes"]
    parts = [changes["image"]] if "image" in changes else []
    parts += [_format_size(changes)] if _format_size(changes) else []
    parts += [f"env {', '.join(changes['env'])}"] if changes.get("env") else []
    return "; ".join(parts)


def _format_size(changes: Mapping[str, Any]) -> str:
    cpu = " ".join(str(changes[key]) for key in ("cpu_count", "cpu_kind") if key in changes)
    memory = f"{changes['memory_mb']} MB" if "memory_mb" in changes else ""
    return ", ".join(part for part in (f"{cpu} vCPU" if cpu else "", memory) if part)


def shorten_image(image: str | None) -> str:
    """An image for people: a digest is cut to its first twelve characters."""
    name, at, digest = (image or "nothing yet").partition("@")
    kind, colon, value = digest.partition(":")
    return f"{name}{at}{kind}{colon}{value[:12]}"


def format_left_out(code: str | None) -> str:
    """Why a release does not move an app."""
    return LEFT_OUT.get(code or "", code or "-")


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


def is_in_force(pin: Mapping[str, Any], now: datetime) -> bool:
    """Whether a pin has not ended."""
    return "ends_at" not in pin or datetime.fromisoformat(pin["ends_at"]) > now


def list_pinned(pin: Mapping[str, Any], now: datetime) -> list[str]:
    """What a pin (`pin` of fly_user_status) fixes: image, size, names of variables, and how long releases stay away."""
    size = _format_size(pin)
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


def format_moment(at: str) -> str:
    """A moment of the database, to the minute."""
    moment = datetime.fromisoformat(at)
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def format_differing(differ: Mapping[str, Any]) -> str | None:
    """How many apps differ from their plan, from `differ` of fly_releases. None if there are none."""
    apps = int(differ["apps"])
    if not apps:
        return None
    noun, verb = ("app", "differs") if apps == 1 else ("apps", "differ")
    their = "its" if apps == 1 else "their"
    return f"{apps} {noun} {verb} from {their} plan (for example {', '.join(differ['examples'])})"
