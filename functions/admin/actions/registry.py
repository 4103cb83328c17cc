"""The actions of an operator: what each is called, warns of, asks for, and does."""

from collections.abc import Callable
from dataclasses import dataclass

from functions.admin.actions import alert_operations, fleet_operations, operations, release_operations
from functions.admin.actions.function_client import ActionOutcome
from functions.admin.actions.request import ActionRequest


@dataclass(frozen=True)
class ActionSpec:
    """One action. `about` is "user", "cause", "orphan", "release", "alert", "brake" or "hangar".

    `asks` are more fields of its form.
    `page` is where it began, for those about Hangar. `template` makes the confirmation.
    """

    name: str
    label: str
    title: str
    warning: str
    run: Callable[[ActionRequest], ActionOutcome]
    about: str = "user"
    tone: str = "plain"
    asks: tuple[str, ...] = ()
    needs_reason: bool = False
    page: str = "controls"
    template: str = "confirm.html"


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
        "new-name",
        "Take a new name",
        "Give up this app's name",
        "For an app that was deleted outside Hangar and whose name somebody else on Fly has now. Hangar reads Fly's lists of "
        "your organisation. Only if they show other apps and not this one, a user who pays gets a new, empty app with another "
        "name. Otherwise nothing changes, and the failure says what was seen.",
        operations.new_name,
        tone="busy",
        needs_reason=True,
    ),
    ActionSpec(
        "retry-cause",
        "Retry all of this cause",
        "Try all of this cause again now",
        "",
        fleet_operations.retry_cause,
        about="cause",
        needs_reason=True,
        page="failures",
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
        "The brake's count starts at zero, and what it held back is due at once. The Events page shows the deletions so far.",
        operations.release_brake,
        about="brake",
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
    ActionSpec(
        "acknowledge-alert",
        "Acknowledge",
        "Acknowledge this alert",
        "Everybody sees that you take care of it. The alert stays open and ends when its cause is gone.",
        alert_operations.acknowledge,
        about="alert",
        asks=("reason",),
        page="controls#alerts",
    ),
    ActionSpec(
        "snooze-alert",
        "Snooze",
        "Snooze this alert",
        "It is not shown above the pages until then. If it is still open at that time, it is shown and sent again.",
        alert_operations.snooze,
        about="alert",
        asks=("span", "reason"),
        page="controls#alerts",
    ),
    ActionSpec(
        "wake-alert",
        "Wake",
        "Wake this alert",
        "It is open as before, and nobody takes care of it. It is not sent again.",
        alert_operations.wake,
        about="alert",
        asks=("reason",),
        page="controls#alerts",
    ),
    ActionSpec(
        "create-release",
        "Create draft",
        "Plan a release",
        "This makes a draft. Nothing moves until you have seen its plan and started it.",
        release_operations.create_release,
        about="hangar",
        asks=("request",),
        needs_reason=True,
        page="releases",
        template="release_form.html",
    ),
    ActionSpec(
        "create-plan-release",
        "Create draft",
        "Plan a release that follows the plans",
        "The release gives each app that differs from its plan what the plan says today. This makes a draft: nothing moves until "
        "you have seen it and started it.",
        release_operations.create_plan_release,
        about="hangar",
        asks=("request",),
        needs_reason=True,
        page="releases",
    ),
    ActionSpec(
        "start-release",
        "Start",
        "Start this release",
        "The canary moves first. Each wave begins when the one before has proved itself.",
        release_operations.start,
        about="release",
        tone="busy",
        needs_reason=True,
    ),
    ActionSpec(
        "pause-release",
        "Pause",
        "Pause this release",
        "No further app moves. Apps that are moving now are still checked, and put back on failure.",
        release_operations.pause,
        about="release",
        tone="busy",
        needs_reason=True,
    ),
    ActionSpec(
        "resume-release",
        "Resume",
        "Resume this release",
        "The release continues where it stopped. Apps that failed and were put back are tried again.",
        release_operations.resume,
        about="release",
        tone="good",
        needs_reason=True,
    ),
    ActionSpec(
        "abort-release",
        "Abort",
        "Abort this release",
        "Every app that it has moved goes back to what it ran before. The release then ends as aborted.",
        release_operations.abort,
        about="release",
        tone="bad",
        needs_reason=True,
    ),
    ActionSpec(
        "roll-back-release",
        "Roll back",
        "Roll back this release",
        "Every app that it has moved goes back to what it ran before. The release then ends as rolled back.",
        release_operations.roll_back,
        about="release",
        tone="bad",
        needs_reason=True,
    ),
)
ACTIONS = {spec.name: spec for spec in _ALL}
