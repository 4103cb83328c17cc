"""What each action about a release does. Every one is safe to repeat, and the audit log names the operator."""

import json
from collections.abc import Mapping
from uuid import UUID, uuid5

from functions.admin.actions.function_client import ActionOutcome
from functions.admin.actions.request import ActionRequest
from shared.adapters.registry import Registry, choose_scope, make_registry
from shared.domain.errors import Refused
from shared.domain.models import Json
from shared.domain.regions import explain_refused_region, normalise_region
from shared.domain.release_image import check_release_image
from shared.settings.config import Config

_TEXTS = ("image", "version", "cpu_kind")
_NUMBERS = ("cpu_count", "memory_mb")


def create_release(action: ActionRequest) -> ActionOutcome:
    """Make a draft of what the form says."""
    return _draft(action, read_release_form(action.form))


def create_plan_release(action: ActionRequest) -> ActionOutcome:
    """Make a draft that gives each app what its plan says."""
    return _draft(action, {"kind": "plan"})


def read_release_form(form: Mapping[str, str]) -> Json:
    """The release that the form describes. Empty fields are left out; the database checks the rest."""
    spec: Json = {name: form[name] for name in _TEXTS if form.get(name)}
    spec |= {name: _read_number(form[name]) for name in _NUMBERS if form.get(name)}
    if move_to := form.get("move_to", "").strip():
        spec["region"] = _read_regions(move_to)
    if tiers := _split_words(form.get("tiers", "")):
        spec["tiers"] = tiers
    if regions := _split_words(form.get("regions", "")):
        spec["regions"] = [region.lower() for region in regions]
    return spec


def _split_words(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]


def _read_regions(preference: str) -> str:
    """The list as it is stored. Raises Refused with the sentence of the command line for a word that is no region of Fly."""
    regions = normalise_region(preference)
    if refused := explain_refused_region(preference) if regions else "the list is empty":
        raise Refused(f"move to regions: {refused}", code="invalid_value")
    return regions


def _read_number(text: str) -> int | str:
    """A number as a number. Other text stays as it is, so that the database's refusal quotes it."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text


def _draft(action: ActionRequest, spec: Json) -> ActionOutcome:
    # The same form sent twice makes one draft. A form that was changed in between makes another one.
    content = json.dumps([action.actor, action.reason, spec], sort_keys=True)
    request = uuid5(UUID(action.form["request"]), content)
    checked = check_release_image(spec, _make_registry(action.context.admin.config).look_up)
    made = action.database.create_release(checked.release, actor=action.actor, why=action.reason, request=request)
    number = made["id"]
    text = f"Release {number} was created as a draft. Nothing has moved. Check its plan, then start it."
    if checked.notice:
        text = f"{text} {checked.notice[0].upper()}{checked.notice[1:]}."
    return ActionOutcome("busy" if checked.notice else "good", text, page=f"releases/{number}")


def _make_registry(config: Config) -> Registry:
    scope = choose_scope(config.image_lookup, config.supabase_url)
    return make_registry(scope, config.fly_api_token.get_secret_value())


def start(action: ActionRequest) -> ActionOutcome:
    """Let the waves begin."""
    return _operate(action, "start", "busy", "is rolling. The next drain, within a minute, moves the first apps.")


def pause(action: ActionRequest) -> ActionOutcome:
    """Move no further app."""
    return _operate(action, "pause", "busy", "is paused. No further app moves.")


def resume(action: ActionRequest) -> ActionOutcome:
    """Continue, and try again what failed."""
    return _operate(action, "resume", "good", "is rolling again.")


def abort(action: ActionRequest) -> ActionOutcome:
    """Put everything back and end as aborted."""
    return _operate(action, "abort", "busy", "is aborted. What it had moved goes back to what it ran before.")


def roll_back(action: ActionRequest) -> ActionOutcome:
    """Put everything back and end as rolled back."""
    return _operate(action, "rollback", "busy", "is rolled back. What it had moved goes back to what it ran before.")


def _operate(action: ActionRequest, step: str, tone: str, text: str) -> ActionOutcome:
    number = action.release["id"]
    answer = action.database.change_release(number, step, actor=action.actor, why=action.reason)
    return ActionOutcome(
        tone, f"Release {number} {text}" if answer["changed"] else f"Nothing changed: release {number} {text}"
    )
