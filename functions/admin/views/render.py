"""What the templates share: words, numbers, moments, and the addresses of static files."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import flask
from markupsafe import Markup

from functions.admin.views.alerts import describe_alert
from functions.admin.views.banners import list_banners
from functions.admin.views.commands import replace_commands
from functions.admin.views.releases import STATES, end_sentence, explain_reason, format_apps, name_wave
from shared.domain.cost import format_size_of, to_cents
from shared.domain.moments import format_day, format_moment, read_moment
from shared.domain.release_text import explain_code
from shared.domain.remediation import format_event, format_time
from shared.domain.status_text import format_brake_release, format_host_loss

_HALF_CENT = Decimal("0.005")
_STATIC = Path(__file__).parents[1] / "static"
# The shape and color of a status. Its word is always shown beside the shape.
_TONES = {
    "active": "good",
    "healthy": "good",
    "succeeded": "good",
    "started": "good",
    "error": "bad",
    "unhealthy": "bad",
    "failed": "bad",
    "provisioning": "busy",
    "deprovisioning": "leaving",
    "intent": "busy",
    "deleted": "gone",
    "info": "plain",
    "stopped": "gone",
    "suspended": "gone",
    "draft": "gone",
    "rolling": "busy",
    "paused": "bad",
    "completed": "good",
    "aborted": "gone",
    "rolling back": "leaving",
    "rolled back": "gone",
    "done": "good",
    "moving": "busy",
    "pending": "gone",
    "going back": "leaving",
    "put back": "plain",
    "skipped": "unknown",
    "left out": "unknown",
}


def add_filters(app: flask.Flask) -> None:
    """Give the app's templates the words, numbers and links that they share."""
    app.jinja_env.filters |= {
        "tone": lambda word: _TONES.get(word, "unknown"),
        "money": format_money,
        "day": format_day,
        "moment": format_moment,
        "value": format_value,
        "count": lambda number: f"{int(number):,}",
        "ago": show_moment,
        "image": shorten_image,
        "query": lambda values: urlencode(pick(values)),
        "summary": summarise_event,
        "host_loss": format_host_loss,
        "brake_release": format_brake_release,
        "words": lambda text: str(text).replace("_", " "),
        "apps": format_apps,
        "wave": name_wave,
        "release_state": lambda word: STATES.get(word, word),
        "code_reason": explain_reason,
        "code_meaning": explain_code,
        "sentence": end_sentence,
        "buttons": replace_commands,
        "alert": describe_alert,
        "size": format_size_of,
    }
    app.jinja_env.globals |= {"asset": _link_asset, "list_banners": list_banners, "zip": zip}


@cache
def get_asset_version(name: str) -> str | None:
    """The hash of a static file's content, which its address carries. None if there is no such file."""
    path = next((each for each in _STATIC.iterdir() if each.name == name), None)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path else None


def _link_asset(name: str) -> str:
    version = get_asset_version(name)
    if version is None:
        raise LookupError(f"there is no asset {name}")
    return f"assets/{name}?{version}"


def format_money(amount: str | Decimal | None) -> str:
    """Dollars and cents with thousands separated, a loss with a minus. A dash for none."""
    if amount is None:
        return "-"
    exact = Decimal(amount)
    if exact < 0:
        return f"-${to_cents(-exact):,}"
    return "under $0.01" if 0 < exact < _HALF_CENT else f"${to_cents(exact):,}"


def format_value(value: Any) -> str:
    """A value of an event's metadata in words. Objects and lists name each of their parts."""
    if isinstance(value, Mapping):
        return (
            ", ".join(f"{str(key).replace('_', ' ')} {format_value(part)}" for key, part in value.items()) or "nothing"
        )
    if isinstance(value, list):
        return ", ".join(map(format_value, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


def summarise_event(event: Mapping[str, Any]) -> str:
    """An event in one line, without what the cells beside it show."""
    shown = {"action", *(["app"] if event["metadata"].get("app") == event["fly_app_name"] else [])}
    shown |= {"attempt"} if event["metadata"].get("attempt") == 1 else set()
    rest = {
        key: format_value(value) if isinstance(value, Mapping | list) else value
        for key, value in event["metadata"].items()
        if key not in shown
    }
    return format_event({**event, "metadata": rest})


def show_moment(at: str | None, now: datetime) -> Markup:
    """A moment as people say it, with the exact time in the element. The script keeps the words current."""
    if at is None:
        return Markup('<span class="none">never</span>')
    exact = read_moment(at)
    full = f"{exact:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact.isoformat(), full, format_time(at, now))


def shorten_image(image: str) -> str:
    """The part of an image that identifies it for people: its name, with the tag or the start of the digest."""
    name, _, digest = image.partition("@")
    short = name.rpartition("/")[2]
    return f"{short}@{digest.removeprefix('sha256:')[:8]}" if digest else short


def pick(values: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The values of an address with some changed. None removes one."""
    return {key: value for key, value in {**values, **changes}.items() if value not in (None, "")}
