"""The actions of an operator: what each is called, warns of, asks for, and does."""

from collections.abc import Callable
from dataclasses import dataclass

from functions.admin.actions import operations
from functions.admin.actions.function_client import ActionOutcome
from functions.admin.actions.request import ActionRequest


@dataclass(frozen=True)
class ActionSpec:
    """One action. `about` is "user", "orphan" or "hangar"; `asks` are the extra fields of its confirmation."""

    name: str
    label: str
    title: str
    warning: str
    run: Callable[[ActionRequest], ActionOutcome]
    about: str = "user"
    tone: str = "plain"
    asks: tuple[str, ...] = ()
    needs_reason: bool = False


_ALL = (
    ActionSpec(
        "provision",
        "Provision",
        "Give this user an app",
        "This records a grant. The user has the app until the grant ends or is removed, whatever the subscription says.",
        operations.provision,
        tone="good",
        asks=("plan", "ends_on"),
        needs_reason=True,
    ),
    ActionSpec(
        "deprovision",
        "Deprovision",
        "Remove this user's app",
        "The machine is stopped, then the app and all its data are destroyed. This records a denial: the user gets no app "
        "until the denial ends or is removed.",
        operations.deprovision,
        tone="bad",
        asks=("ends_on", "type_name"),
        needs_reason=True,
    ),
    ActionSpec(
        "remove-override",
        "Remove override",
        "Let the subscription decide again",
        "The user gets what the subscription entitles to. Hangar creates, keeps or removes the app accordingly.",
        operations.remove_override,
        needs_reason=True,
    ),
    ActionSpec(
        "keep",
        "Cancel deprovision",
        "Keep this app",
        "If there is a denial, it is removed. If the subscription does not entitle the user to an app, a grant is recorded.",
        operations.keep,
        tone="good",
        needs_reason=True,
    ),
    ActionSpec(
        "retry",
        "Retry now",
        "Try again now",
        "Hangar tries again now, with the image and size that the plan and the settings name today.",
        operations.retry,
    ),
    ActionSpec(
        "check",
        "Check now",
        "Check this app now",
        "Hangar asks Fly for the state of this app, and repairs what differs from the desired state.",
        operations.check,
    ),
    ActionSpec(
        "restart",
        "Restart",
        "Restart the machine",
        "The user's program is interrupted for a few seconds.",
        operations.restart,
        tone="busy",
    ),
    ActionSpec(
        "pause",
        "Pause Hangar",
        "Pause all changes on Fly",
        "Hangar creates, changes and destroys nothing until somebody resumes it. Running apps keep running.",
        operations.pause,
        about="hangar",
        tone="bad",
        needs_reason=True,
    ),
    ActionSpec(
        "resume",
        "Resume",
        "Resume changes on Fly",
        "The changes that waited during the pause are due at once.",
        operations.resume,
        about="hangar",
        tone="good",
    ),
    ActionSpec(
        "pause-deletes",
        "Pause deletions",
        "Pause all deletions",
        "Hangar still stops the machines of users who left, but destroys no app or machine until deletions are allowed again.",
        operations.pause_deletes,
        about="hangar",
        tone="busy",
        needs_reason=True,
    ),
    ActionSpec(
        "resume-deletes",
        "Allow deletions",
        "Allow deletions again",
        "The waiting deletions start with the next drain, as fast as the brake allows.",
        operations.resume_deletes,
        about="hangar",
    ),
    ActionSpec(
        "release-brake",
        "Release brake",
        "Release the brake",
        "The brake's count starts at zero, and the deletions that it held back are due at once. The events page shows the "
        "deletions so far.",
        operations.release_brake,
        about="hangar",
        tone="bad",
        needs_reason=True,
    ),
    ActionSpec(
        "sweep",
        "Sweep now",
        "Run a sweep now",
        "Hangar checks the whole fleet, as the scheduler does every five minutes.",
        operations.sweep,
        about="hangar",
    ),
    ActionSpec(
        "approve-orphan",
        "Approve removal",
        "Remove this orphan",
        "The next sweep checks this app once more. If the app still carries Hangar's mark and still has no row, the sweep "
        "destroys it and all its data.",
        operations.approve_orphan,
        about="orphan",
        tone="bad",
        asks=("type_name",),
    ),
)
ACTIONS = {spec.name: spec for spec in _ALL}
