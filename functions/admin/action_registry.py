"""The things an operator can do: what each is called, warns of, asks for, and does.

Every one is safe to do twice, and stands in the log with the operator's e-mail.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from functions.admin.function_client import call_function
from functions.admin.request_context import RequestContext

ActionOutcome = dict[str, str]
_MOST_REASON_CHARS = 500


@dataclass(frozen=True)
class ActionSpec:
    """One thing that can be done. `about` is "user", "orphan" or "hangar"; `asks` are the fields of its confirmation."""

    name: str
    label: str
    title: str
    warning: str
    do: Callable[["ActionRequest"], ActionOutcome]
    about: str = "user"
    tone: str = "plain"
    asks: tuple[str, ...] = ()
    needs_reason: bool = False


@dataclass(frozen=True)
class ActionRequest:
    """What an operator confirmed: about whom, with what the form said; `told` is fly_admin_user's answer."""

    visit: RequestContext
    user_id: UUID | None
    told: Mapping[str, Any]
    app: str
    form: Mapping[str, str]

    def rpc(self, name: str, **args: Any) -> Any:
        """A procedure that signs the audit log with the operator's e-mail."""
        return self.visit.desk.database.rpc(name, actor=self.visit.actor, **args)

    def call(self, name: str, **body: Any) -> ActionOutcome:
        user = {"user_id": str(self.user_id)} if self.user_id else {}
        return call_function(self.visit, name, {**user, **body})

    @property
    def reason(self) -> str | None:
        return self.form.get("reason", "")[:_MOST_REASON_CHARS] or None

    def set_override(self, override: str | None, plan: str | None = None) -> dict[str, Any]:
        """The override, unless it stands already: pressed twice is one line in the log."""
        ends_at = read_day(self.form.get("ends_on", ""))
        now = self.told["override"] or {}
        same = (now.get("override"), now.get("plan"), now.get("ends_at")) == (override, plan, None) and ends_at is None
        if same and (override is not None or not now):
            return {"entitled": self.told["entitled"]}
        answer: dict[str, Any] = self.rpc(
            "fly_set_override",
            user=str(self.user_id),
            override=override,
            plan=plan,
            reason=self.reason,
            ends_at=ends_at,
        )
        return answer


def _provision(wish: ActionRequest) -> ActionOutcome:
    wish.set_override("grant", wish.form.get("plan") or suggest_plan(wish.told))
    return wish.call("provision")


def _deprovision(wish: ActionRequest) -> ActionOutcome:
    wish.set_override("deny")
    return wish.call("deprovision")


def _remove_override(wish: ActionRequest) -> ActionOutcome:
    wanted = wish.set_override(None)["entitled"]
    said = wish.call("provision" if wanted else "deprovision")
    return {**said, "text": f"The override is gone; the subscription decides. {said['text']}"}


def _keep(wish: ActionRequest) -> ActionOutcome:
    """Take back a deprovision: without the denial if that is all, by a grant if the subscription does not carry the app."""
    entitled = wish.told["entitled"]
    if (wish.told["override"] or {}).get("override") == "deny":
        entitled = wish.set_override(None)["entitled"]
    if not entitled:
        wish.set_override("grant", wish.form.get("plan") or suggest_plan(wish.told))
    return wish.call("provision")


def _retry(wish: ActionRequest) -> ActionOutcome:
    wish.rpc("fly_retry", user=str(wish.user_id))
    return wish.call("health")


def _pause(wish: ActionRequest) -> ActionOutcome:
    return _set_paused(wish, paused=True)


def _resume(wish: ActionRequest) -> ActionOutcome:
    return _set_paused(wish, paused=False)


def _set_paused(wish: ActionRequest, *, paused: bool) -> ActionOutcome:
    changed = wish.rpc("fly_set_paused", paused=paused, reason=wish.reason)["changed"]
    word = "paused: no change is made on Fly" if paused else "running; what had gathered is due now"
    return {"tone": "busy" if paused else "good", "text": f"Hangar is {'now' if changed else 'already'} {word}."}


def _pause_deletes(wish: ActionRequest) -> ActionOutcome:
    return _set_deletes(wish, paused=True)


def _resume_deletes(wish: ActionRequest) -> ActionOutcome:
    return _set_deletes(wish, paused=False)


def _set_deletes(wish: ActionRequest, *, paused: bool) -> ActionOutcome:
    changed = wish.rpc("fly_set_settings", changes={"deletes_paused": paused}, reason=wish.reason)["changed"]
    word = "paused" if paused else "allowed"
    return {"tone": "busy" if paused else "good", "text": f"Deletions are {'now' if changed else 'already'} {word}."}


def _release_brake(wish: ActionRequest) -> ActionOutcome:
    wish.rpc("fly_release_brake", reason=wish.reason)
    return {"tone": "good", "text": "The brake is released: it counts anew from now, and what it held back is due."}


def _approve_orphan(wish: ActionRequest) -> ActionOutcome:
    if wish.rpc("fly_approve_orphan", app=wish.app)["approved"]:
        return {"tone": "good", "text": f"{wish.app} is approved: the next sweep looks at it directly and removes it."}
    return {"tone": "bad", "text": f"No orphan of the last sweep has the name {wish.app}."}


def _sweep(wish: ActionRequest) -> ActionOutcome:
    said = wish.call("health")
    return {"tone": "good", "text": "A sweep has run."} if said["tone"] == "good" else said


def suggest_plan(told: Mapping[str, Any]) -> str | None:
    """The plan of a user's app, else of the subscription, else the smallest there is (`plans` begins with it)."""
    tiers = [(told[part] or {}).get("tier") for part in ("row", "subscription")]
    return next((tier for tier in [*tiers, *told["plans"]] if tier in told["plans"]), None)


def read_day(text: str) -> str | None:
    """The end of a day to come, in UTC; None for anything else."""
    try:
        day = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC, hour=23, minute=59, second=59)
    except ValueError:
        return None
    return day.isoformat() if day > datetime.now(UTC) else None


def _check(wish: ActionRequest) -> ActionOutcome:
    return wish.call("health")


def _restart(wish: ActionRequest) -> ActionOutcome:
    return wish.call("health", restart=True)


_ALL = (
    ActionSpec(
        "provision",
        "Provision",
        "Give this user an app",
        "A grant is recorded as an override: the user has the app until it ends or is removed, whatever the subscription says.",
        _provision,
        tone="good",
        asks=("plan", "ends_on"),
        needs_reason=True,
    ),
    ActionSpec(
        "deprovision",
        "Deprovision",
        "Take this user's app away",
        "The machine is stopped and the app is destroyed, with whatever is on it. A denial is recorded as an override: the user "
        "gets no app until it ends or is removed.",
        _deprovision,
        tone="bad",
        asks=("ends_on", "type_name"),
        needs_reason=True,
    ),
    ActionSpec(
        "remove-override",
        "Remove override",
        "Let the subscription decide again",
        "The user gets what the subscription entitles to: an app is made, kept or taken away accordingly.",
        _remove_override,
        needs_reason=True,
    ),
    ActionSpec(
        "keep",
        "Cancel deprovision",
        "Keep this app",
        "A denial is removed. If the subscription does not entitle to the app, a grant is recorded instead.",
        _keep,
        tone="good",
        needs_reason=True,
    ),
    ActionSpec(
        "retry",
        "Retry now",
        "Try again now",
        "A failed app asks for the image and size that plan and settings name today.",
        _retry,
    ),
    ActionSpec(
        "check",
        "Check now",
        "Look at this app now",
        "Fly is asked directly, and whatever differs from what is wanted is mended.",
        _check,
    ),
    ActionSpec(
        "restart",
        "Restart",
        "Restart the machine",
        "The user's program is interrupted for some seconds.",
        _restart,
        tone="busy",
    ),
    ActionSpec(
        "pause",
        "Pause Hangar",
        "Pause every change on Fly",
        "The kill switch: nothing is created, changed or destroyed until somebody resumes. Running apps go on running.",
        _pause,
        about="hangar",
        tone="bad",
        needs_reason=True,
    ),
    ActionSpec(
        "resume",
        "Resume",
        "Let changes on Fly go on",
        "What has gathered meanwhile is due at once.",
        _resume,
        about="hangar",
        tone="good",
    ),
    ActionSpec(
        "pause-deletes",
        "Pause deletions",
        "Destroy nothing",
        "Machines of users who left are still stopped, but no app or machine is destroyed until somebody allows it again.",
        _pause_deletes,
        about="hangar",
        tone="busy",
        needs_reason=True,
    ),
    ActionSpec(
        "resume-deletes",
        "Allow deletions",
        "Let deletions go on",
        "Apps that should have gone meanwhile go with the next drain, as fast as the brake allows.",
        _resume_deletes,
        about="hangar",
    ),
    ActionSpec(
        "release-brake",
        "Release brake",
        "Release the brake",
        "It counts anew from now, and the deletions it held back are due at once. The events page shows what went before.",
        _release_brake,
        about="hangar",
        tone="bad",
        needs_reason=True,
    ),
    ActionSpec(
        "sweep",
        "Sweep now",
        "Run a sweep now",
        "The whole fleet is looked at, as the scheduler does every five minutes.",
        _sweep,
        about="hangar",
    ),
    ActionSpec(
        "approve-orphan",
        "Approve removal",
        "Remove this orphan",
        "The next sweep destroys this app, with whatever is on it, if a direct look still finds our proof and no row.",
        _approve_orphan,
        about="orphan",
        tone="bad",
        asks=("type_name",),
    ),
)
DEEDS = {deed.name: deed for deed in _ALL}
