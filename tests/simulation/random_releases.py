"""Releases in a small world: good and bad images, started, paused, aborted and rolled back at random moments."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg

from shared.domain.naming import machine_names
from tests.support.clock import make_chance

if TYPE_CHECKING:
    from tests.simulation.small_storm import SmallStorm

REPOSITORY = "registry.fly.io/vyx-app"
GOOD = ("v2", "v3", "v4", "v5-slow-start", "v6-slow-pull")
BAD = (
    "crash-at-start",
    "exit-0",
    "crash-after-60s",
    "crash-loop",
    "oom-at-boot",
    "never-ready",
    "wrong-port",
    "no-checks",
    "flaps",
    "wrong-digest",
    "old-version",
    "wrong-user",
    "pull-reverts",
    "refused",
    "missing",
    "too-large",
    "wrong-architecture",
    "entrypoint-missing",
    "cold-resume-broken",
)
# A tag without a digest means what the canary runs, so a single app cannot show that it is the wrong one.
_BAD_FOR_ONE = tuple(tag for tag in BAD if tag != "wrong-digest")
ACTIONS = ("pause", "resume", "resume", "abort", "rollback")
# Apps that a bad image may reach in a world of at most seven users: the canary, the first wave, and one that replaced the canary.
MOST_TOUCHED = 3
# Lists of regions to which releases move apps. One of them is the region in which the world makes trouble.
REGIONS = ("nrt", "nrt,hkg", "fra", "iad", "iad,fra")
# A suspended worker may start a machine long after its lease has ended. So long may two run until it is found and stopped.
MOST_DOUBLED_S = 900.0
LAST_SHARE = 0.3  # of the worlds with releases: one more is made when the faults have stopped
_ACTOR = "operator"
_MOST_MINUTES = 180


class RandomReleases:
    """The moves of operators with releases. `check` runs after each move of the world; it reads Fly, not the engine's tables."""

    def __init__(self, storm: "SmallStorm", seed: int) -> None:
        self.storm, self.world = storm, storm.world
        self.chance = make_chance(seed, "releases")
        self.numbers = 0
        self.touched: dict[str, set[str]] = {}
        self.moves_regions = make_chance(seed, "regions of releases")
        self.edits_plans = make_chance(seed, "images of plans")
        self.doubled: dict[str, float] = {}

    def weigh_moves(self) -> dict[Callable[[], None], float]:
        return {self._release: 6, self._steer: 3, self._pin: 2, self._follow_plan: 1, self._pass_time: 12}

    # Moves

    def _pass_time(self) -> None:
        """Some minutes of the schedule, so that a release gets somewhere."""
        for _ in range(self.chance.randint(2, 8)):
            self.storm.drain()
            self.world.turns.run(self.world.clock() + 60.0)
            self.check()

    def _operate(self, what: str, procedure: str, *values: Any) -> Any:
        """Call a procedure of the operator. A refusal is an answer too."""
        places = ", ".join(["%s"] * len(values))
        try:
            answer = self.world.sql(f"select public.{procedure}({places})", *values)[0][0]
        except psycopg.Error as refused:
            if refused.sqlstate not in ("22023", "PT409"):
                raise
            self.world.note(f"{what}: refused: {str(refused).splitlines()[0]}", "operator")
            return None
        self.world.note(what, "operator")
        return answer

    def _release(self) -> None:
        tag = self.chance.choice(BAD if self.chance.random() < 0.6 else GOOD)
        self.numbers += 1
        spec: dict[str, Any] = {
            "image": f"{REPOSITORY}:r{self.numbers}-{tag}",
            "soak_s": self.chance.choice((90, 120, 300)),
        }
        spec["deadline_s"] = self.chance.choice((300, 600))
        if self.chance.random() < 0.2:
            spec["tiers"] = [self.chance.choice(("pro", "elite"))]
        elif self.chance.random() < 0.2:
            spec["users"] = [str(self.storm.pick()) for _ in range(3)]
        if tag == "wrong-digest" and ("tiers" in spec or "users" in spec):
            # A single app cannot show that what its canary runs is not what the tag means.
            spec["image"] = f"{REPOSITORY}:r{self.numbers}-never-ready"
        if self.chance.random() < 0.2:
            spec["env"] = {"FEATURE": str(self.numbers)}
        if self.chance.random() < 0.15:
            spec |= {"cpu_count": 2, "memory_mb": 512}
        if self.moves_regions.random() < 0.35:
            spec["region"] = self.moves_regions.choice(REGIONS)
            if self.moves_regions.random() < 0.5:
                del spec["image"]
        self._create(spec)

    def _create(self, spec: dict[str, Any]) -> None:
        made = self._operate(f"release {json.dumps(spec)}", "fly_create_release", json.dumps(spec), _ACTOR)
        if made is not None:
            self._operate(f"release {made['id']} starts", "fly_change_release", made["id"], "start", _ACTOR)

    def _follow_plan(self) -> None:
        """What the plans say; sometimes an image, good or bad, that they name only at the moment of the start."""
        spec = {"kind": "plan", "soak_s": 60, "deadline_s": 300}
        if self.edits_plans.random() < 0.5:
            self._create(spec)
            return
        tag = self.edits_plans.choice(_BAD_FOR_ONE if self.edits_plans.random() < 0.6 else GOOD)
        self.numbers += 1
        (before,) = self.world.sql("select default_image from hangar.settings")[0]
        self._set_image(f"{REPOSITORY}:r{self.numbers}-{tag}")
        self._create({**spec, "soak_s": 90})
        self._set_image(before)  # new apps get it no more, and the release gives what it was started with

    def _set_image(self, image: str) -> None:
        self.world.note(f"the default image is {image}", "operator")
        self.world.sql("update hangar.settings set default_image = %s", image)

    def _steer(self) -> None:
        releases = self.world.sql("select id from hangar.releases order by id desc limit 2")
        if releases:
            release, action = self.chance.choice(releases)[0], self.chance.choice(ACTIONS)
            self._operate(f"release {release}: {action}", "fly_change_release", release, action, _ACTOR)

    def _pin(self) -> None:
        user = self.storm.pick()
        pin = self.chance.choice(
            (None, None, {"image": f"{REPOSITORY}:pinned"}, {"env": {"MORE": "1"}}, {"cpu_count": 2, "memory_mb": 512})
        )
        self._operate(
            f"pin of {user}: {pin}", "fly_set_user_pin", user, json.dumps(pin) if pin else None, _ACTOR, "storm"
        )

    # What must hold

    def check(self) -> None:
        """I13: a bad image reaches no more apps than the canary, the first wave, and one that replaced the canary."""
        for machine in self.world.sim.machines():
            image = _read_image(machine)
            if _is_bad(image):
                self.touched.setdefault(image, set()).add(machine.app.name)
        self._check_doubled()
        for image, apps in self.touched.items():
            if len(apps) > MOST_TOUCHED:
                self.world.recorder.add_violation(f"the bad image {image} reached {', '.join(sorted(apps))}")

    def _check_doubled(self) -> None:
        """During a move an app has two machines of Hangar's names, of which one runs."""
        running: dict[str, list[str]] = {}
        for machine in self.world.sim.machines():
            if machine.state == "started" and machine.name in machine_names(machine.app.name):
                running.setdefault(machine.app.name, []).append(machine.id)
        now = self.world.clock()
        self.doubled = {app: self.doubled.get(app, now) for app, ids in running.items() if len(ids) > 1}
        for app, since in self.doubled.items():
            if now - since > MOST_DOUBLED_S or not self.world.turns.has_slept:
                self.world.recorder.add_violation(f"two machines of {app} run since {since}: {running[app]}")

    def end(self) -> None:
        """The faults have stopped: releases end, or an operator aborts them; in some worlds one more is made in the calm."""
        self._abort_all()
        if self.chance.random() < LAST_SHARE:
            self._make_last()

    def _make_last(self) -> None:
        tag = self.chance.choice((*_BAD_FOR_ONE, *GOOD[:2] * 5))
        # No failure may hide in the calm: a bad image pauses its release at once, and a good one reaches every app that it may.
        last = {"image": f"{REPOSITORY}:last-{tag}"}
        if self.moves_regions.random() < 0.5:
            last["region"] = self.moves_regions.choice(REGIONS)
        made = self._operate(f"the last release: {last}", "fly_create_release", json.dumps(last), _ACTOR)
        if made is not None:
            self._operate("the last release starts", "fly_change_release", made["id"], "start", _ACTOR)
            self._run_until_rest()
            found = self.world.sql("select public.fly_release(%s)", made["id"])[0][0]
            ended_as = "paused" if tag in BAD else "completed"
            if all(target["state"] == "skipped" for target in found["targets"]):
                ended_as = "paused"  # nobody was left to prove it, so an operator decides
            if found["state"] != ended_as:
                self.world.recorder.add_violation(f"the release of {tag} is {found['state']}, not {ended_as}: {found}")
        self._abort_all()

    def _abort_all(self) -> None:
        if self.chance.random() < 0.5:
            self._run_until_rest()
        for (release,) in self.world.sql(
            "select id from hangar.releases where state in ('draft', 'paused', 'rolling')"
        ):
            self._operate(f"release {release}: abort", "fly_change_release", release, "abort", _ACTOR)
        self._run_until_rest()

    def _run_until_rest(self) -> None:
        under_way = (
            "select id, state, held_by from hangar.releases r where state in ('rolling', 'rolling_back') or state = 'paused'"
            " and exists (select 1 from hangar.release_targets t where t.release_id = r.id"
            "   and (t.state in ('applying', 'verifying') or t.must_go_back))"
        )
        for _ in range(_MOST_MINUTES // 5):
            left = self.world.sql(under_way)
            if not left:
                return
            self.world.turns.run(self.world.clock() + 300.0)
            self.storm.call_health()
            self.check()
        self.world.recorder.add_violation(f"releases are still under way after {_MOST_MINUTES} minutes: {left}")

    def find_wrong_images(self) -> list[str]:
        """At rest no machine has a bad image, and each has what its row says that it should run."""
        problems = []
        wanted = dict(
            self.world.sql("select fly_app_name, docker_image from public.user_fly_apps where deleted_at is null")
        )
        for machine in self.world.sim.machines():
            image = _read_image(machine)
            if machine.app.name not in wanted or machine.state == "destroyed":
                continue
            if _is_bad(image) and not self._was_tried_by_one(image):
                problems.append(f"{machine.app.name} still runs the bad image {image}")
            if image != wanted[machine.app.name].partition("@")[0]:
                problems.append(f"{machine.app.name} runs {image}, and its row says {wanted[machine.app.name]}")
        return problems

    def _was_tried_by_one(self, image: str) -> bool:
        """Whether a tag that means another digest for each app has been used by one app only, which cannot show that."""
        return image.endswith("-wrong-digest") and len(self.touched.get(image, ())) < 2


def _read_image(machine: Any) -> str:
    return str(machine.config.get("image", "")).partition("@")[0]


def _is_bad(image: str) -> bool:
    return any(image.endswith(f"-{tag}") for tag in BAD)
