"""The routes of the actions. GET /actions/<name> shows the confirmation, POST does it.

After a POST the browser is sent back to where it started (303), so that neither a reload nor a second press repeats it.
"""

from dataclasses import replace

import flask

from functions.admin.actions.alert_operations import SPANS, explain_stale_alert, mark_handling, read_alert
from functions.admin.actions.brake import count_release, explain_stale_release, read_brake
from functions.admin.actions.fleet_operations import SHOWN_APPS, explain_stale_retry, read_cause, warn_of_retry
from functions.admin.actions.offers import explain_changed_override, explain_stale_action, mark_override, specialise
from functions.admin.actions.registry import ACTIONS, ActionSpec
from functions.admin.actions.release_offers import explain_stale_form, mark_state, specialise_release
from functions.admin.actions.request import ActionRequest, read_day, suggest_plan
from functions.admin.request_context import (
    clean,
    get_context,
    leave_notice,
    read_arg,
    read_release_id,
    redirect_to,
    show,
)
from functions.admin.views.commands import name_fields, replace_commands
from functions.admin.views.releases import end_sentence
from shared.domain.errors import Conflict, Refused
from shared.domain.models import Json
from shared.settings.validators import parse_uuid

blueprint = flask.Blueprint("actions", __name__)


@blueprint.route("/actions/<name>", methods=["GET", "POST"])
def run_action(name: str) -> flask.Response:
    """The confirmation of an action, or the action itself."""
    spec = ACTIONS.get(name)
    if spec is None:
        flask.abort(404)
    action = _read_action_request(spec)
    spec = _specialise(spec, action)
    if stale := _explain_stale(spec, action, _read_seen(action)):
        leave_notice(stale, "bad")
        return redirect_to(_get_origin_page(action, spec))
    if (changed := _explain_changed(spec, action, _read_seen(action))) and flask.request.method == "POST":
        return _show_confirmation(action, spec, changed, 409)
    if flask.request.method == "GET":
        return _show_confirmation(action, spec)
    if problem := _find_problem(action, spec):
        return _show_confirmation(action, spec, problem, 400)
    try:
        outcome = spec.run(action)
    except Conflict as conflict:
        return _show_confirmation(action, spec, end_sentence(replace_commands(conflict.message)), 409)
    except Refused as refusal:
        if refusal.code != "invalid_value":
            raise
        return _show_confirmation(action, spec, end_sentence(name_fields(replace_commands(refusal.message))), 400)
    leave_notice(outcome.text, outcome.tone)
    return redirect_to(outcome.page or _get_origin_page(action, spec))


def _specialise(spec: ActionSpec, action: ActionRequest) -> ActionSpec:
    """The action, worded for what it is about."""
    if action.release:
        return specialise_release(spec, action.release)
    if spec.about == "cause":
        return replace(spec, warning=warn_of_retry(action.details)) if action.details else spec
    return specialise(spec, action.user)


def _explain_stale(spec: ActionSpec, action: ActionRequest, seen: str | None) -> str:
    """Why the action cannot be done now, for example because somebody else has done it. Empty if it can be."""
    if spec.about == "release":
        return explain_stale_form(spec, action.release, seen)
    if spec.about == "cause":
        if action.context.frame["settings"]["paused"]:
            return "Hangar is paused, so nothing can be retried. Resume it first."
        return explain_stale_retry(action.details, action.cause, None)
    if spec.about == "alert":
        return explain_stale_alert(spec.name, action.details, seen)
    if spec.about == "brake":
        return explain_stale_release(action.details, has_alert=action.context.frame["brake"] is not None)
    return explain_stale_action(spec, action.user) if spec.about == "user" else ""


def _explain_changed(spec: ActionSpec, action: ActionRequest, seen: str | None) -> str:
    """Why the form has to be confirmed again: it would hit more than it showed, or replace what another operator decided."""
    if spec.about == "user":
        return explain_changed_override(spec, action.user, seen, action.actor)
    if spec.about == "cause":
        return explain_stale_retry(action.details, action.cause, seen)
    if spec.about == "brake" and seen is not None and seen != count_release(action.details):
        return "Nothing was done yet: what a release lets go has changed since you opened the form. Check it and confirm again."
    return ""


def _read_seen(action: ActionRequest) -> str | None:
    """The mark of the state for which the form was made. None before it is sent."""
    return action.form.get("seen", "") if flask.request.method == "POST" else None


def _read_action_request(spec: ActionSpec) -> ActionRequest:
    context = get_context()
    user_id, user, app = None, {}, read_arg("app")[:100]
    release: Json = {}
    if spec.about == "user":
        user_id = parse_uuid(read_arg("user"))
        if user_id is None:
            flask.abort(404)
        found = context.database.read_user(user_id)
        if found is None:
            flask.abort(404)
        user = found
        app = (user["row"] or {}).get("fly_app_name", "")
    elif spec.about == "release":
        release = _read_release()
    elif spec.about == "orphan" and not app:
        flask.abort(404)
    cause = read_arg("cause")[:60]
    details: Json = {}
    if spec.about == "cause":
        if not cause:
            flask.abort(404)
        details = read_cause(context.database, cause)
    elif spec.about == "brake":
        details = read_brake(context.database)
    elif spec.about == "alert":
        alert_id = parse_uuid(read_arg("alert"))
        if alert_id is None:
            flask.abort(404)
        details = read_alert(context.database, alert_id)
    form = {name: clean(text) for name, text in flask.request.form.items()}
    return ActionRequest(context, user_id, user, app, form, release, cause, details)


def _read_release() -> Json:
    release_id = read_release_id("release")
    release = get_context().database.read_release_page(release_id) if release_id is not None else None
    if release is None:
        flask.abort(404)
    return release


def _show_confirmation(action: ActionRequest, spec: ActionSpec, problem: str = "", status: int = 200) -> flask.Response:
    plan = action.form.get("plan") or suggest_plan(action.user) if "plan" in spec.asks else None
    return show(
        spec.template,
        status,
        spec=spec,
        action=action,
        plan=plan,
        problem=problem,
        seen=_mark_seen(spec, action),
        shown_apps=SHOWN_APPS,
        spans=SPANS,
        back=_get_origin_page(action, spec),
    )


def _mark_seen(spec: ActionSpec, action: ActionRequest) -> str:
    """What the form remembers of the state that it shows."""
    if spec.about == "release":
        return mark_state(action.release)
    if spec.about == "cause":
        return str(action.details["ready"])
    if spec.about == "alert":
        return mark_handling(action.details)
    if spec.about == "user":
        return mark_override(spec, action.user)
    return count_release(action.details) if spec.about == "brake" else ""


def _get_origin_page(action: ActionRequest, spec: ActionSpec) -> str:
    if spec.about == "user":
        return f"users/{action.user_id}"
    return f"releases/{action.release['id']}" if spec.about == "release" else spec.page


def _find_problem(action: ActionRequest, spec: ActionSpec) -> str:
    """What is wrong with the form, in words. Empty if nothing is."""
    plans = action.user.get("plans", [])
    if spec.needs_reason and not action.reason:
        return "Give a reason. It is kept in the audit log."
    if "span" in spec.asks and action.form.get("span") not in SPANS:
        return f"Choose how long: {', '.join(words for words, _ in SPANS.values())}."
    if "request" in spec.asks and parse_uuid(action.form.get("request", "")) is None:
        return "The form was not complete. Send it again."
    if "type_name" in spec.asks and action.app and action.form.get("typed", "").strip() != action.app:
        return f"To confirm, type the app's name exactly: {action.app}"
    if "plan" in spec.asks and not plans:
        return "No plan has an app of its own. Add one to the plans table first."
    if "plan" in spec.asks and (plan := action.form.get("plan")) and plan not in plans:
        return f"There is no plan {plan} with an app of its own. Choose one of: {', '.join(plans)}."
    if action.form.get("ends_on") and read_day(action.form["ends_on"]) is None:
        return "The end must be a future day, such as 2027-01-31, or empty."
    return ""
