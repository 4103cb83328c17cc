"""Hundreds of kills; after every few of them it checks whether anything was lost, doubled or orphaned.

A round: the host changes subscriptions while functions work, and a process is killed. Then, up to three times, the clock moves
past every lease, two sweeps run at once, and another process is killed. Then everything is repaired, no process is killed any
more, and two sweeps, each at the last deadline that stands, must reach the promised state.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from local.http_server import Request, Response
from tests.kill.checks import find_broken, find_last_deadline_s, find_undesired, format_story
from tests.kill.cloud import KillCloud
from tests.kill.host import Host
from tests.kill.planned_kills import VICTIMS, WHENS, Killer, PlannedKill, Point

_WEIGHTS = {"worker": 9, "function": 2, "postgres": 3, "gateway": 2}
_MOST_KILLS_A_ROUND = 5
# Points that wait: with fewer the next pass begins, or those that are hard to come by would be all there is to wait for.
_FEW = 60
_MOST_ROUNDS_MORE = 40
_CUT_FLY_EVERY = 60
_LONGEST_CUT_S = 5.0
_LOSE_QUEUE_EVERY = 7


@dataclass
class Campaign:
    """One campaign on one cloud; `problems` is empty as long as every promise held.

    The first pass over the points kills workers only, so that a worker has died at each; later ones, and all of a `mixed`
    campaign, kill whomever.
    """

    cloud: KillCloud
    seed: int
    mixed: bool = False
    say: Callable[[str], None] = lambda _: None
    problems: list[str] = field(default_factory=list)
    kills: Counter[tuple[Point, str]] = field(default_factory=Counter)
    tally: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311  chance that can be repeated
        self.host = Host(self.cloud, self._make_chance("host"))
        self.killer = Killer(self.cloud, self._make_chance("trap"))
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
        """Every side of every call that was ever seen, in a fixed order."""
        return [Point(call, when) for call in sorted(self.killer.seen) for when in WHENS]

    @property
    def never_reached(self) -> list[Point]:
        reached = {point for point, _ in self.kills}
        return [point for point in self.points if point not in reached]

    def run(self, at_least: int, *, everywhere: bool = False) -> None:
        """Two rounds without a kill, which show the calls there are; then kills, until enough or a promise is broken.

        With `everywhere`, some more rounds for points that no call has reached yet.
        """
        self.host.prepare()
        self.host.sign_up_all()
        for _ in range(2):
            self._run_round(0)
        more = _MOST_ROUNDS_MORE if everywhere else 0
        while not self.problems and (self.total < at_least or (more and self.never_reached)):
            if self.tally["rounds"] > 10 + 3 * at_least:
                self.problems.append(
                    f"only {self.total} kills in {self.tally['rounds']} rounds: calls no longer pass by"
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
        # Rare points gather from pass to pass: while only they are left, no process dies.
        if kills and (len(self._waiting) < _FEW or self._was_in_vain):
            self._begin_pass()
        turn = self._waiting[:1] if kills else []
        for step in range(max(1, kills)):
            # Every other round is for the point whose turn it is, until a call reaches it: no earlier death may prevent it.
            is_reserved = self.tally["rounds"] % 2 == 0 and turn and turn[0] in self._waiting
            others = [] if is_reserved else self.chance.sample(self._waiting, len(self._waiting) // 2)
            self._run_step([each for each in (*turn, *others) if each in self._waiting], is_first=step == 0)
        if turn and turn[0] in self._waiting:  # no call reached it
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

    # One step: work, a death in the midst of it, and everything up again

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
        if is_first:
            self.host.hurt()
        if planned and self.chance.random() < 1 / _CUT_FLY_EVERY:
            self.tally["times Fly was out of reach"] += 1
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
        self.cloud.settle()  # the process that died last has left something half answered, too
        if kill:
            self.kills[kill.point, kill.victim] += 1
            self._waiting.remove(kill)
        self.cloud.repair()
        self.problems += self.host.find_lost_writes()

    def _start(self, call: Callable[..., object], *args: Any) -> threading.Thread:
        """Call it on a thread of its own; what it raises is a problem (a host's write that failed, above all)."""
        self.cloud.deliveries.begin()  # here, so that the cloud does not count as quiet before the thread has begun

        def run() -> None:
            try:
                call(*args)
            except Exception as failure:  # noqa: BLE001  told with the round's other problems
                self.problems.append(f"{getattr(call, '__name__', call)} failed: {type(failure).__name__}: {failure}")
            finally:
                self.cloud.deliveries.end()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _move_clock(self) -> None:
        """To the last deadline that stands: no one works now, so no lease is cut short."""
        self.cloud.control("POST", "clock", {"advance_s": find_last_deadline_s(self.cloud) + 1})

    def _recover(self) -> None:
        """Two sweeps, each at the last deadline that then stands, during which no process dies."""
        self._send_late()
        self.cloud.settle()
        for _ in range(2):
            self._move_clock()
            self.cloud.ask_health("health 1")
            self.cloud.settle()
        self.problems += find_undesired(self.cloud)

    # Nudges: delivered, lost, doubled, late

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
    """The table: every point and who died there how often, then the totals."""
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
