"""What each action does. Every one is safe to repeat, and the audit log records it with the operator's e-mail address."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from functions.admin.actions.function_client import ActionOutcome
from functions.admin.actions.request import ActionRequest, suggest_plan


def provision(action: ActionRequest) -> ActionOutcome:
    """Record a grant, then have the app created."""
    action.set_override("grant", action.form.get("plan") or suggest_plan(action.user))
    return action.call("provision")


def deprovision(action: ActionRequest) -> ActionOutcome:
    """Record a denial, then have the app removed."""
    action.set_override("deny")
    return action.call("deprovision")


def remove_override(action: ActionRequest) -> ActionOutcome:
    """Let the subscription decide, then bring the app to what it says."""
    is_entitled = action.set_override(None)
    outcome = action.call("provision" if is_entitled else "deprovision")
    return replace(outcome, text=f"The override was removed and the subscription decides. {outcome.text}")


def keep(action: ActionRequest) -> ActionOutcome:
    """Cancel a deprovision: remove the denial if that is enough, else record a grant."""
    is_entitled = action.user["entitled"]
    if (action.user["override"] or {}).get("override") == "deny":
        is_entitled = action.set_override(None)
    if not is_entitled:
        action.set_override("grant", action.form.get("plan") or suggest_plan(action.user))
    return action.call("provision")


def retry(action: ActionRequest) -> ActionOutcome:
    """Make a failed app due now, then have it checked."""
    action.rpc("fly_retry", user=str(action.user_id))
    return action.call("health")


def check(action: ActionRequest) -> ActionOutcome:
    """Have the app checked now."""
    return action.call("health")


def restart(action: ActionRequest) -> ActionOutcome:
    """Have the machine restarted."""
    return action.call("health", restart=True)


def pause(action: ActionRequest) -> ActionOutcome:
    """Stop all changes on Fly."""
    was = _describe_change(action.rpc("fly_set_paused", paused=True, reason=action.reason))
    return ActionOutcome("busy", f"Hangar is {was} paused. It changes nothing on Fly.")


def resume(action: ActionRequest) -> ActionOutcome:
    """Allow changes on Fly again."""
    was = _describe_change(action.rpc("fly_set_paused", paused=False, reason=action.reason))
    return ActionOutcome("good", f"Hangar is {was} running. The changes that were waiting are due now.")


def pause_deletes(action: ActionRequest) -> ActionOutcome:
    """Stop all deletions."""
    changes = {"deletes_paused": True}
    was = _describe_change(action.rpc("fly_set_settings", changes=changes, reason=action.reason))
    return ActionOutcome("busy", f"Deletions are {was} paused.")


def resume_deletes(action: ActionRequest) -> ActionOutcome:
    """Allow deletions again."""
    changes = {"deletes_paused": False}
    was = _describe_change(action.rpc("fly_set_settings", changes=changes, reason=action.reason))
    return ActionOutcome("good", f"Deletions are {was} allowed.")


def _describe_change(answer: Mapping[str, Any]) -> str:
    return "now" if answer["changed"] else "already"


def release_brake(action: ActionRequest) -> ActionOutcome:
    """Reset the brake's count and let deletions continue."""
    action.rpc("fly_release_brake", reason=action.reason)
    return ActionOutcome(
        "good", "The brake is released. Its count starts at zero, and the waiting deletions are due now."
    )


def approve_orphan(action: ActionRequest) -> ActionOutcome:
    """Let the next sweep remove this orphan."""
    if action.rpc("fly_approve_orphan", app=action.app)["approved"]:
        return ActionOutcome("good", f"{action.app} is approved. The next sweep checks it once more and removes it.")
    return ActionOutcome("bad", f"The last sweep found no orphan with the name {action.app}.")


def sweep(action: ActionRequest) -> ActionOutcome:
    """Run a sweep."""
    outcome = action.call("health")
    return replace(outcome, text="The sweep has finished.") if outcome.tone == "good" else outcome
