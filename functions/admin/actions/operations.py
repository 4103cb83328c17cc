"""What each action does. Every one is safe to repeat, and the audit log records it with the operator's e-mail address."""

from dataclasses import replace

from functions.admin.actions.function_client import CHECK, RESTART, ActionOutcome, start_sweep
from functions.admin.actions.request import ActionRequest, suggest_plan
from shared.adapters.procedures_operator import SettingsChange
from shared.domain.status_text import format_unrecorded


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
    action.database.retry(action.owner_id, actor=action.actor)
    return action.call("health")


def new_name(action: ActionRequest) -> ActionOutcome:
    """Give up the name of a lost app, if Fly's lists prove that somebody else has it."""
    action.database.request_new_name(action.owner_id, actor=action.actor, reason=action.reason or "")
    return action.call("health")


def check(action: ActionRequest) -> ActionOutcome:
    """Have the app checked now."""
    return action.call("health", CHECK)


def restart(action: ActionRequest) -> ActionOutcome:
    """Have the machine restarted."""
    return action.call("health", RESTART, restart=True)


def pause(action: ActionRequest) -> ActionOutcome:
    """Stop all changes on Fly."""
    change = action.database.set_paused(paused=True, actor=action.actor, reason=action.reason)
    text = f"Hangar is {_now_or_already(changed=change.changed)} paused. It changes nothing on Fly."
    return _warn_if_unrecorded(ActionOutcome("busy", text), change.unrecorded)


def resume(action: ActionRequest) -> ActionOutcome:
    """Allow changes on Fly again."""
    change = action.database.set_paused(paused=False, actor=action.actor, reason=action.reason)
    text = f"Hangar is {_now_or_already(changed=change.changed)} running. The changes that were waiting are due now."
    return ActionOutcome("good", text)


def pause_deletes(action: ActionRequest) -> ActionOutcome:
    """Stop all deletions."""
    change = _set_deletes_paused(action, paused=True)
    text = f"Deletions are {_now_or_already(changed=bool(change.changed))} paused."
    return _warn_if_unrecorded(ActionOutcome("busy", text), change.unrecorded)


def resume_deletes(action: ActionRequest) -> ActionOutcome:
    """Allow deletions again."""
    change = _set_deletes_paused(action, paused=False)
    return ActionOutcome("good", f"Deletions are {_now_or_already(changed=bool(change.changed))} allowed.")


def _set_deletes_paused(action: ActionRequest, *, paused: bool) -> SettingsChange:
    return action.database.set_settings({"deletes_paused": paused}, actor=action.actor, reason=action.reason)


def _warn_if_unrecorded(outcome: ActionOutcome, error: str | None) -> ActionOutcome:
    return replace(outcome, tone="bad", text=f"{outcome.text} {format_unrecorded(error)}.") if error else outcome


def _now_or_already(*, changed: bool) -> str:
    return "now" if changed else "already"


def release_brake(action: ActionRequest) -> ActionOutcome:
    """Reset the brake's count and let deletions continue."""
    action.database.release_brake(actor=action.actor, reason=action.reason)
    return ActionOutcome(
        "good", "The brake is released. Its count starts at zero, and the waiting deletions are due now."
    )


def approve_orphan(action: ActionRequest) -> ActionOutcome:
    """Let the next sweep remove this orphan."""
    if action.database.approve_orphan(action.app, actor=action.actor):
        return ActionOutcome("good", f"{action.app} is approved. The next sweep checks it once more and removes it.")
    return ActionOutcome("bad", f"The last sweep found no orphan with the name {action.app}.")


def sweep(action: ActionRequest) -> ActionOutcome:
    """Start a sweep. It reports within seconds, also while Fly does not answer."""
    outcome = start_sweep(action.context)
    if outcome.tone == "good":
        return replace(outcome, text="The sweep has finished.")
    return (
        replace(outcome, text=f"Sweep: {outcome.text[:1].lower()}{outcome.text[1:]}")
        if outcome.tone == "busy"
        else outcome
    )
