"""From data to HTML: the templates, the words and forms they share, and the first-party files beside them."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup, escape

from functions.admin.views.banners import list_banners
from shared.domain.cost import to_cents
from shared.domain.remediation import format_duration, format_event, format_time

_HALF_CENT = Decimal("0.005")
HERE = Path(__file__).parents[1]
ASSET_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
# What a status means to the eye; the word itself always stands beside the shape.
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
}


@cache
def read_asset(name: str) -> tuple[bytes, str, str] | None:
    """A file of ours by its plain name: content, type and the hash that stands in its address."""
    known = {path.name: path for path in (HERE / "static").iterdir() if path.suffix in ASSET_TYPES}
    if name not in known:
        return None
    content = known[name].read_bytes()
    return content, ASSET_TYPES[known[name].suffix], hashlib.sha256(content).hexdigest()[:12]


@cache
def _environment() -> jinja2.Environment:
    """Made at the first page; autoescape is on for every template, whatever it is called."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "tone": lambda word: _TONES.get(word, "unknown"),
        "money": format_money,
        "tell": format_value,
        "count": lambda number: f"{int(number):,}",
        "span": lambda seconds: format_duration(float(seconds)),
        "ago": show_moment,
        "image": shorten_image,
        "query": lambda values: urlencode({key: value for key, value in values.items() if value not in (None, "")}),
        "what": _format_rest,
        "ticked": _mark_code,
        "words": lambda text: str(text).replace("_", " "),
    }
    environment.globals |= {"asset": _link_asset, "banners": list_banners, "zip": zip}
    return environment


def render(template: str, **values: Any) -> str:
    """The template with these values; one that is missing is an error, not a gap."""
    return _environment().get_template(template).render(**values)


def _link_asset(name: str) -> str:
    found = read_asset(name)
    if found is None:
        raise LookupError(f"there is no asset {name}")
    return f"assets/{name}?{found[2]}"


def format_money(amount: str | Decimal | None) -> str:
    """Dollars and cents with thousands separated; a dash for none."""
    if amount is None:
        return "-"
    exact = Decimal(amount)
    return "under $0.01" if 0 < exact < _HALF_CENT else f"${to_cents(exact):,}"


def format_value(value: Any) -> str:
    """A value of an event's metadata in words; what holds others names each."""
    if isinstance(value, Mapping):
        return (
            ", ".join(f"{str(key).replace('_', ' ')} {format_value(part)}" for key, part in value.items()) or "nothing"
        )
    if isinstance(value, list):
        return ", ".join(map(format_value, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


def _mark_code(text: str) -> Markup:
    """Words with commands between backticks, as the command line says them, with the commands marked."""
    parts = text.split("`")
    marked = (Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts))
    return Markup("").join(marked)


def _format_rest(event: Mapping[str, Any]) -> str:
    """What an event tells beyond the cells beside it."""
    shown = {"action", *(["app"] if event["metadata"].get("app") == event["fly_app_name"] else [])}
    shown |= {"attempt"} if event["metadata"].get("attempt") == 1 else set()
    rest = {
        key: format_value(value) if isinstance(value, Mapping | list) else value
        for key, value in event["metadata"].items()
        if key not in shown
    }
    return format_event({**event, "metadata": rest})


def show_moment(at: str | None, now: datetime) -> Markup:
    """A moment as people say it, with the exact one in the element; the script keeps the words current."""
    if at is None:
        return Markup('<span class="none">never</span>')
    exact = datetime.fromisoformat(at)
    full = f"{exact:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact.isoformat(), full, format_time(at, now))


def shorten_image(image: str) -> str:
    """The part of an image that tells it from others: its name, and tag or the digest's beginning."""
    name, _, digest = image.partition("@")
    short = name.rpartition("/")[2]
    return f"{short}@{digest.removeprefix('sha256:')[:8]}" if digest else short


def pick(values: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """An address's values with some changed; None takes one out."""
    return {key: value for key, value in {**values, **changes}.items() if value not in (None, "")}
