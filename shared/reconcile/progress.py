"""What one run has called and what Fly said against it: a run that gets nowhere ends, with Fly's own words."""

from collections import Counter
from dataclasses import dataclass, field

from shared.domain.actions import Action, ActionKind
from shared.domain.decide import CONTRADICTION, CONTRADICTION_ADVICE, MACHINE_FAILED, START_FAILED
from shared.domain.errors import Conflict, HangarError, NameTaken, NotOwned, Refused, TransientError
from shared.fly.errors import FIX_TOKEN

SAME_ACTION_LIMIT = 3
# Fly holds a deleted app's name for about a minute. A refused name has no effect, so it is tried for most of that, every 10 s.
NAME_REFUSALS_LIMIT = 5


@dataclass
class Progress:
    """The calls of one run on one app, and the last rejection of each kind of call."""

    calls: Counter[ActionKind] = field(default_factory=Counter)
    rejections: dict[ActionKind, HangarError] = field(default_factory=dict)
    name_refusals: int = 0
    _by_place: Counter[tuple[ActionKind, str]] = field(default_factory=Counter)

    def reject(self, action: Action, error: HangarError) -> None:
        """Fly differs from what was observed. The run observes again, and knows why if it gets nowhere."""
        self.rejections[action.kind] = error

    def refuse_name(self, app: str, taken: NameTaken, *, is_listed: bool) -> None:
        """Count a refused name. At the limit it raises HangarError: another wait may end the turn, and a pause has no alert.

        `is_listed`: the organisation's lists show an app of this name as ours.
        """
        self.name_refusals += 1
        if self.name_refusals < NAME_REFUSALS_LIMIT:
            return
        if is_listed:
            raise TransientError(
                f"Fly answers 404 for the app {app} and refuses its name as taken, while the organisation's lists show it as "
                "ours",
                code=CONTRADICTION,
                advice=CONTRADICTION_ADVICE,
            ) from taken
        message = f"Fly refused the name {app} {self.name_refusals} times. The last: {taken}"
        raise Conflict(message, code="no_progress") from taken

    def rename(self) -> None:
        """The app has a new name, which Fly has not refused yet."""
        self.calls.pop(ActionKind.CREATE_APP, None)
        self.name_refusals = 0

    def check(self, app: str, action: Action, full_regions: int) -> None:
        """Raises HangarError when this action was done often enough without effect. `full_regions` were tried meanwhile."""
        rejection = self.rejections.get(action.kind)
        if isinstance(rejection, NotOwned):
            # What was read since says that the app is ours, so it is the token that may not change it.
            message = (
                f"{rejection.message}, although Fly shows the app as ours: the token may read it but not change it"
            )
            raise Refused(message, code="token", advice=FIX_TOKEN, status=rejection.status) from rejection
        if action.kind is ActionKind.START_MACHINE and self.calls[action.kind] and rejection is None:
            raise Conflict(f"the machine of {app} was started and did not stay up", code=START_FAILED)
        machine = action.machine
        if (
            machine
            and action.purpose == "replace"
            and machine.state == "failed"
            and self.calls[ActionKind.CREATE_MACHINE]
        ):
            message = f"the machine {machine.id}, which Hangar has made for {app}, failed to start"
            raise Conflict(message, code=MACHINE_FAILED)
        times = self._count(action, full_regions)
        if times >= SAME_ACTION_LIMIT:
            last = f". The last time: {rejection}" if rejection else ""
            raise Conflict(f"{action.kind} on {app} was done {times} times without effect{last}", code="no_progress")

    def _count(self, action: Action, full_regions: int) -> int:
        """How often the action was done in vain. An address is an action of its own."""
        if action.address:
            times = self._by_place[action.kind, action.address]
            self._by_place[action.kind, action.address] += 1
            return times
        in_vain = {ActionKind.CREATE_APP: self.name_refusals, ActionKind.CREATE_MACHINE: full_regions}
        return self.calls[action.kind] - in_vain.get(action.kind, 0)
