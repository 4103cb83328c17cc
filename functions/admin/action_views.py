"""What an operator can do now: offered by the state of things, confirmed in proportion to harm, done, and said.

GET /actions/<name> is the confirmation, POST the deed; then the browser is sent back to where it began (303), so that
neither a reload nor a second press does anything twice.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from werkzeug.exceptions import NotFound

from functions.admin.action_registry import DEEDS, ActionRequest, ActionSpec, read_day, suggest_plan
from functions.admin.request_context import Page, RequestContext, clean
from shared.settings.validators import parse_uuid


def offer_actions(told: Mapping[str, Any]) -> list[ActionSpec]:
    """What makes sense for a user in this state, the likeliest first."""
    row, override = told["row"], told["override"]
    names = []
    if row is None or row["desired_state"] == "absent":
        names.append("keep" if row else "provision")
    if row is not None:
        names += ["retry"] if row["status"] == "error" and not _is_held(told) else []
        names += ["check"]
        names += ["restart"] if row["machine_state"] == "started" and row["desired_state"] == "present" else []
        names += ["deprovision"] if row["desired_state"] == "present" else []
    names += ["remove-override"] if override else []
    return [specialise(DEEDS[name], told) for name in names]


def _is_held(told: Mapping[str, Any]) -> bool:
    """Whether a worker is at this user's app: it would go on with its own attempt."""
    until = told["row"].get("lease_expires_at")
    return until is not None and datetime.fromisoformat(until) > datetime.fromisoformat(told["now"])


def specialise(deed: ActionSpec, told: Mapping[str, Any]) -> ActionSpec:
    """The deed as it is for this user: what may destroy says so, is red and asks for the name; what needs a plan asks for it."""
    row = told.get("row")
    if row is None:
        return deed
    if deed.name == "remove-override" and (told["override"] or {}).get("override") == "grant":
        paid, app = told["subscription"], row["fly_app_name"]
        if paid and paid["tier"] in told["plans"]:
            carried = (
                f"The subscription ({paid['tier']}, {paid['status']}) decides again. If it entitles to no app, this app"
            )
        else:
            carried = "The subscription does not entitle to an app: this app"
        warning = f"{carried}, {app}, is destroyed with whatever is on it."
        return replace(deed, warning=warning, tone="bad", asks=("type_name",))
    if deed.name == "keep" and row["tier"] not in told["plans"]:
        return replace(deed, asks=("plan",))
    return deed


def answer_action(visit: RequestContext, name: str) -> Page:
    """The confirmation of an action, or the action."""
    deed = DEEDS.get(name)
    if deed is None:
        raise NotFound
    wish = _read_wish(visit, deed)
    deed = specialise(deed, wish.told)
    if deed.name == "keep" and wish.told["row"] is None:
        # A tab from before: a new app is not what "Keep this app" says.
        said = {"tone": "bad", "text": "The app is gone already, so there is none to keep. Provision makes a new one."}
        return Page(to=_back(wish, deed), said=said)
    if visit.request.method == "GET":
        return _confirm(wish, deed)
    if problem := _find_problem(wish, deed):
        return _confirm(wish, deed, problem, 400)
    return Page(to=_back(wish, deed), said=deed.do(wish))


def _read_wish(visit: RequestContext, deed: ActionSpec) -> ActionRequest:
    user_id, told, app = None, {}, visit.ask("app")[:100]
    if deed.about == "user":
        user_id = parse_uuid(visit.ask("user"))
        if user_id is None:
            raise NotFound
        told = visit.desk.database.rpc("fly_admin_user", user=str(user_id))
        if not told["known"]:
            raise NotFound
        app = (told["row"] or {}).get("fly_app_name", "")
    elif deed.about == "orphan" and not app:
        raise NotFound
    return ActionRequest(visit, user_id, told, app, {name: clean(text) for name, text in visit.request.form.items()})


def _confirm(wish: ActionRequest, deed: ActionSpec, problem: str = "", status: int = 200) -> Page:
    plan = wish.form.get("plan") or suggest_plan(wish.told) if "plan" in deed.asks else None
    return wish.visit.show(
        "confirm.html", status, deed=deed, wish=wish, plan=plan, problem=problem, back=_back(wish, deed)
    )


def _back(wish: ActionRequest, deed: ActionSpec) -> str:
    return f"users/{wish.user_id}" if deed.about == "user" else "controls"


def _find_problem(wish: ActionRequest, deed: ActionSpec) -> str:
    if deed.needs_reason and not wish.reason:
        return "Give a reason: it stays in the audit log."
    if "type_name" in deed.asks and wish.app and wish.form.get("typed", "").strip() != wish.app:
        return f"To go on, type the app's name exactly: {wish.app}"
    if "plan" in deed.asks and (plan := wish.form.get("plan")) and plan not in wish.told["plans"]:
        return f"There is no plan {plan} with an app of its own. Choose one of: {', '.join(wish.told['plans'])}."
    if "plan" in deed.asks and not wish.told["plans"]:
        return "No plan has an app of its own: add one to fly_plans first."
    if wish.form.get("ends_on") and read_day(wish.form["ends_on"]) is None:
        return "The end must be a day to come, such as 2027-01-31, or empty for none."
    return ""
