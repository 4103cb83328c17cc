"""Kill processes hundreds of times, and check every few kills that nothing was lost, doubled or orphaned.

A round: the host changes subscriptions while functions work, and a process is killed. Then, up to four times, the clock moves
past every lease, two sweeps run at once, and another process is killed. Then everything is repaired and the kills stop. Two
more sweeps, each after the last open deadline, must reach the promised state.
"""

import random
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from local.http_server import Request, Response
from tests.kill.checks import find_broken, find_last_deadline_s, find_undesired, format_story, is_moving
from tests.kill.cloud import KillCloud
from tests.kill.host import Host
from tests.kill.planned_kills import VICTIMS, WHENS, Killer, PlannedKill, Point

_WEIGHTS = {"worker": 9, "function": 2, "postgres": 3, "gateway": 2}
_MOST_KILLS_A_ROUND = 5
# When fewer points than this are left, the next pass begins: rounds that wait only for rare points would kill too little.
_FEW = 60
_MOST_ROUNDS_MORE = 40
_CUT_FLY_EVERY = 60
_LONGEST_CUT_S = 5.0
_LOSE_QUEUE_EVERY = 7
MOVE_EVERY = 2
_MOST_SWEEPS_OF_A_MOVE = 40


@dataclass
class Campaign:
    """One campaign on one cloud; `problems` is empty as long as every promise held.

    The first pass over the points kills only workers, so that a worker has died at each point. Later passes, and every pass of
    a `mixed` campaign, kill any process. With `only`, a regular expression, processes are killed at points that match it.
    """

    cloud: KillCloud
    seed: int
    mixed: bool = False
    only: str = ""
    say: Callable[[str], None] = lambda _: None
    problems: list[str] = field(default_factory=list)
    kills: Counter[tuple[Point, str]] = field(default_factory=Counter)
    tally: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311  chance that can be repeated
        self.host = Host(self.cloud, self._make_chance("host"))
        self.killer = Killer(self.cloud, self._make_chance("killer"))
        self._door = self._make_chance("door")
        self._door_lock = threading.Lock()
        self._late: list[tuple[str, Request]] = []
        self._waiting: list[PlannedKill] = []
        self._passes = 0
        self._was_in_vain = False
        self.cloud.deliver = self._deliver

    def _make_chance(self, what: str) -> random.Random:
        return random.Random(f"{self.seed}:{what}")  # noqa: S311  chance that can be repeated

    @property
    def total(self) -> int:
        return self.kills.total()

    @property
    def points(self) -> list[Point]:
        """Every point of every call seen so far, in a fixed order."""
        calls = sorted(call for call in self.killer.seen if re.search(self.only, call))
        return [Point(call, when) for call in calls for when in WHENS]

    @property
    def never_reached(self) -> list[Point]:
        reached = {point for point, _ in self.kills}
        return [point for point in self.points if point not in reached]

    def run(self, at_least: int, *, everywhere: bool = False) -> None:
        """Run three rounds without a kill to learn the calls, then kill until `at_least` is reached or a promise is broken.

        With `everywhere`, add rounds for points at which no process was killed yet.
        """
        self.host.prepare()
        self.host.sign_up_all()
        for _ in range(3):  # the first move to another region is in the second of them
            self._run_round(0)
        more = _MOST_ROUNDS_MORE if everywhere else 0
        while not self.problems and (self.total < at_least or (more and self.never_reached)):
            if self.tally["rounds"] > 10 + 3 * at_least:
                self.problems.append(
                    f"only {self.total} kills in {self.tally['rounds']} rounds: calls no longer reach the planned points"
                )
                break
            more -= self.total >= at_least
            self._run_round(self.chance.randint(1, _MOST_KILLS_A_ROUND))
            self.say(
                f"round {self.tally['rounds']}: {self.total} kills, {len(self.never_reached)} points without a kill yet"
            )

    def _run_round(self, kills: int) -> None:
        if self.problems:
            return
        self.tally["rounds"] += 1
        begun = len(self.killer.done)
        # Points of rare calls accumulate from pass to pass. While only they are left, hardly any process is killed.
        if kills and (len(self._waiting) < _FEW or self._was_in_vain):
            self._begin_pass()
        turn = self._waiting[:1] if kills else []
        for step in range(max(1, kills)):
            # Every other round is reserved for one point until a call reaches it: no earlier kill may prevent that.
            is_reserved = self.tally["rounds"] % 2 == 0 and turn and turn[0] in self._waiting
            others = [] if is_reserved else self.chance.sample(self._waiting, len(self._waiting) // 2)
            self._run_step([each for each in (*turn, *others) if each in self._waiting], is_first=step == 0)
        if turn and turn[0] in self._waiting:  # no call reached this point
            self._waiting.remove(turn[0])
            self._waiting.append(turn[0])
        self._was_in_vain = kills > 0 and len(self.killer.done) == begun
        self._recover()
        for text, user in find_broken(self.cloud):
            story = [format_story(self.cloud, user)] if user else []
            self.problems.append("\n".join([text, *story]))
        if self.problems:
            died = "; ".join(map(str, self.killer.done[begun:])) or "nobody"
            self.problems.insert(0, f"seed {self.seed}, round {self.tally['rounds']}; killed in it: {died}")

    # One step: functions work, a process is killed meanwhile, and everything is repaired

    def _begin_pass(self) -> None:
        self._passes += 1
        is_plain = self._passes == 1 and not self.mixed
        planned = []
        for point in self.points:
            (victim,) = self.chance.choices(VICTIMS, list(_WEIGHTS.values()))
            nth = self.chance.choice((1, 1, 1, 2, 3))
            planned.append(PlannedKill(point, "worker") if is_plain else PlannedKill(point, victim, nth))
        self.chance.shuffle(planned)
        never = set(self.never_reached)
        self._waiting = [each for each in self._waiting if each.point in never] + planned

    def _run_step(self, planned: list[PlannedKill], *, is_first: bool) -> None:
        self.killer.arm(planned)
        if not is_first:
            self._move_clock()
        if is_first and self.tally["rounds"] % MOVE_EVERY == 0:
            self.host.move_apps()
            self.tally["rounds with a move to another region"] += 1
        elif is_first:
            self.host.hurt()
        if planned and self.chance.random() < 1 / _CUT_FLY_EVERY:
            self.tally["times Fly was unreachable"] += 1
            self.cloud.cut_fly(self.chance.uniform(0.5, _LONGEST_CUT_S))
        body = self.chance.choice((b"{}", b'{"drain_only": true}'))
        work = [
            (self.cloud.ask_health, "health 1"),
            (self.cloud.ask_health, "health 2", body),
            (self.host.change, 6 if is_first else self.chance.randint(0, 2)),
        ]
        self.chance.shuffle(work)
        calls = [self._start(*each) for each in work]
        if planned and self.chance.random() < 1 / _LOSE_QUEUE_EVERY:
            self.tally["times pg_net lost its queue"] += 1
            self.cloud.pg_net.crash()
        self._send_late()
        for call in calls:
            call.join()
        self.cloud.settle()
        kill = self.killer.disarm()
        self.cloud.settle()  # the last kill cut off requests as well; wait until they have ended
        if kill:
            self.kills[kill.point, kill.victim] += 1
            self._waiting.remove(kill)
        self.cloud.repair()
        self.problems += self.host.find_lost_writes()

    def _start(self, call: Callable[..., object], *args: Any) -> threading.Thread:
        """Run the call on its own thread. An exception, such as a failed write of the host, becomes a problem."""
        self.cloud.deliveries.begin()  # before the thread starts, so that the cloud does not look quiet until then

        def run() -> None:
            try:
                call(*args)
            except Exception as failure:  # noqa: BLE001  reported with the round's other problems
                self.problems.append(f"{getattr(call, '__name__', call)} failed: {type(failure).__name__}: {failure}")
            finally:
                self.cloud.deliveries.end()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _move_clock(self) -> None:
        """Move to just after the last open deadline. Nothing is at work now, so no active lease expires."""
        self.cloud.control("POST", "clock", {"advance_s": find_last_deadline_s(self.cloud) + 1})

    def _recover(self) -> None:
        """Run two sweeps without kills, each after the last deadline that is open at its start. A move ends before them."""
        self._send_late()
        self.cloud.settle()
        self._end_move()
        for _ in range(2):
            self._move_clock()
            self.cloud.ask_health("health 1")
            self.cloud.settle()
        self.problems += find_undesired(self.cloud)

    def _end_move(self) -> None:
        """Let the release that moves apps reach its end, with a minute between two sweeps."""
        for _ in range(_MOST_SWEEPS_OF_A_MOVE):
            if not is_moving(self.cloud):
                return
            self.cloud.control("POST", "clock", {"advance_s": 60})
            self.cloud.ask_health("health 1")
            self.cloud.settle()
        self.problems.append(f"a move to another region does not end: {is_moving(self.cloud)}")

    # Nudges: delivered, lost, delivered twice, delivered late

    def _deliver(self, function: str, request: Request) -> Response:
        with self._door_lock:
            fate = self._door.choices(("once", "lost", "doubled", "late"), (6, 1, 2, 1))[0]
            self.tally[f"nudges delivered {fate}" if fate != "lost" else "nudges lost"] += 1
        match fate:
            case "lost":
                return Response(200, b"{}")
            case "late":
                self._late.append((function, request))
                return Response(200, b"{}")
            case "doubled":
                # A second copy goes to another process, which takes the same signed body for the same user.
                self._start(self.cloud.pass_to, "health", request)
        return self.cloud.pass_to(function, request)

    def _send_late(self) -> None:
        late, self._late = self._late, []
        for function, request in late:
            self._start(self.cloud.pass_to, function, request)


def describe(campaign: Campaign) -> str:
    """The table: for every point how often which process was killed there, then the totals."""
    by_victim: Counter[str] = Counter()
    lines = [f"{'point':<52}" + "".join(f"{victim:>10}" for victim in VICTIMS)]
    for point in campaign.points:
        counts = [campaign.kills[point, victim] for victim in VICTIMS]
        lines.append(f"{point!s:<52}" + "".join(f"{count or '.':>10}" for count in counts))
        by_victim.update(dict(zip(VICTIMS, counts, strict=True)))
    lines.append(f"{'all':<52}" + "".join(f"{by_victim[victim]:>10}" for victim in VICTIMS))
    lines += [f"{count} {what}" for what, count in sorted(campaign.tally.items())]
    lines += [f"no kill at {point}" for point in campaign.never_reached]
    reached = len(campaign.points) - len(campaign.never_reached)
    return "\n".join([*lines, f"{reached} of {len(campaign.points)} points with a kill, {campaign.total} kills"])
