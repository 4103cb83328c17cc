"""The guards of a release, each on its own: what pauses it, what goes back, what counts as proof, and what only waits."""

import json
import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

ACTOR = "ops@example.test"
OLD, NEW = "registry.test/team/backend:v1", "registry.test/team/backend:v2"
OLD_DIGEST, NEW_DIGEST, OTHER_DIGEST = (f"sha256:{letter * 64}" for letter in "abc")
SOAK_S = 60
# Of twelve apps: the canary, then waves of 1, 5 and 5.
FAST = {"wave_shares": [0.05, 0.5, 1], "soak_s": SOAK_S, "deadline_s": 300, "max_moving": 50, "moving_share": 1}


class Rollout:
    """One release over twelve running apps, whose workers and looks the test plays."""

    def __init__(self, hangar) -> None:
        self.hangar = hangar
        self.ahead_s = 0.0
        self.users = [hangar.user("pro") for _ in range(12)]
        for user in self.users:
            hangar.converge(user)
        hangar.sql("update user_fly_apps set health_status = 'healthy', docker_image = %s", OLD)
        hangar.sql("update user_fly_apps set image_digest = %s", OLD_DIGEST)
        hangar.sql(
            "update user_fly_apps set token_issued_at = now(), token_expires_at = now() + interval '30 days',"
            " token_running_until = now() + interval '30 days'"
        )
        self.id = 0

    def start(self, **spec) -> None:
        self.id = self.hangar.rpc(
            "fly_create_release", release={**FAST, "image": NEW, **spec}, actor=ACTOR, why="test"
        )["id"]
        self.change("start")

    def change(self, action: str) -> None:
        self.hangar.rpc("fly_change_release", id=self.id, action=action, actor=ACTOR, why="test")

    def wait(self, seconds: float) -> None:
        self.ahead_s += seconds
        self.hangar.shift_clock(self.ahead_s)

    def advance(self) -> list[dict]:
        """One step of the engine. Returns the looks that it asks for."""
        return self.hangar.rpc("fly_advance_releases", looks=500)["looks"]

    def apply(self) -> None:
        """Let workers apply every row that waits for one, and the release see it."""
        for row in self.hangar.sql(
            "select user_id from user_fly_apps where observed_generation is distinct from generation and deleted_at is null"
        ):
            self.hangar.converge(row["user_id"])
        self.hangar.sql("update user_fly_apps set health_status = 'healthy'")
        self.advance()

    def look(self, verdict: str = "good", only: set | None = None, **found) -> int:
        """Report what a look at the machines finds. Returns how many reports counted."""
        found = {"digest": NEW_DIGEST, **found}
        looks = [
            {
                "release": self.id,
                "row_id": str(t["row_id"]),
                "since": t["applied_at"].isoformat(),
                "verdict": verdict,
                **found,
            }
            for t in self.targets()
            if t["state"] == "verifying" and (only is None or t["user_id"] in only)
        ]
        return self.hangar.rpc("fly_record_release_looks", looks=looks)["recorded"] if looks else 0

    def prove(self) -> None:
        """Let the apps of this wave be good for the whole soak, the canary after its restart."""
        self.advance()
        self.apply()
        if self.state()["wave"] == 0:
            self.look("restarted")
        self.look()
        self.wait(SOAK_S)
        self.look()
        self.advance()

    def state(self) -> dict:
        [row] = self.hangar.sql("select * from hangar.releases where id = %s", self.id)
        return row

    def targets(self) -> list[dict]:
        return self.hangar.sql("select * from hangar.release_targets where release_id = %s order by place", self.id)

    def states(self) -> list[str]:
        return [target["state"] for target in self.targets()]

    def moved(self) -> int:
        """How many apps desire the new image."""
        return self.hangar.one("select count(*) from user_fly_apps where docker_image like %s", f"{NEW}%")


@pytest.fixture
def rollout(hangar):
    return Rollout(hangar)


def test_only_the_canary_moves_until_it_is_proved(rollout):
    rollout.start()
    for _ in range(3):
        rollout.advance()
        rollout.apply()
    assert (rollout.moved(), rollout.state()["wave"]) == (1, 0)
    rollout.prove()
    assert (rollout.moved(), rollout.state()["wave"]) == (2, 1)


def test_a_machine_must_stay_good_for_the_whole_soak(rollout):
    rollout.start(env={"A": "b"}, image=None)
    rollout.advance()
    rollout.apply()
    rollout.look()
    rollout.wait(SOAK_S - 5)
    rollout.look()
    assert rollout.states()[0] == "verifying"
    rollout.wait(5)
    rollout.look()
    assert rollout.states()[0] == "done"


def test_the_canary_of_an_image_counts_only_after_its_restart(rollout):
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.look()
    rollout.wait(SOAK_S)
    rollout.look()
    assert rollout.states()[0] == "verifying"
    rollout.wait(15)
    [asked] = rollout.advance()
    assert asked["proof"] == "restart"
    rollout.look("restarted")
    rollout.look()
    assert rollout.states()[0] == "verifying", "the soak begins again with the restart"
    rollout.wait(SOAK_S)
    rollout.look()
    assert rollout.states()[0] == "done"


def test_a_soak_longer_than_the_deadline_spares_no_canary_its_restart(rollout):
    """The deadline is for becoming good. Seed 20261189 brought an image to everybody that failed on its second start."""
    rollout.start(soak_s=600)
    rollout.advance()
    rollout.apply()
    rollout.look()
    rollout.wait(600)
    rollout.look()
    assert rollout.states()[0] == "verifying"
    rollout.wait(15)
    [asked] = rollout.advance()
    assert asked["proof"] == "restart"


def test_a_canary_that_nobody_could_restart_is_taken_as_it_is(rollout):
    """For as long as the deadline, counted from the first try."""
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.look()
    rollout.wait(SOAK_S)
    rollout.look("unknown", code="not_restarted", detail="another worker has the app")
    rollout.wait(FAST["deadline_s"] - 1)
    rollout.look("unknown", code="not_restarted", detail="another worker has the app")
    rollout.look()
    assert rollout.states()[0] == "verifying"
    rollout.wait(1)
    rollout.look()
    assert rollout.states()[0] == "done"


@pytest.mark.parametrize("seen", ["good", "asleep"])
def test_time_without_workers_spares_no_canary_its_restart(rollout, seen):
    """Nobody has tried it. Seed 20262162 brought an image to everybody that failed on its second start."""
    rollout.start()
    rollout.advance()
    rollout.apply()
    if seen == "good":
        rollout.look()
    rollout.wait(24 * 3600)
    [asked] = rollout.advance()
    assert asked["proof"] == ("restart" if seen == "good" else "start")
    rollout.look(seen)
    assert rollout.states()[0] == "verifying"


def test_one_failure_of_the_canary_pauses_and_puts_it_back(rollout):
    rollout.start(failure_share=1)
    rollout.advance()
    rollout.apply()
    rollout.look("dead", code="crash_loop", detail="it exits with 1")
    rollout.advance()
    assert (rollout.state()["state"], rollout.moved()) == ("paused", 0)
    assert re.search(r"^the canary failed: 1 app \(\S+\): it exits with 1$", rollout.state()["reason"])
    assert (
        rollout.hangar.one("select count(*) from hangar.alerts where kind = 'release_failed' and resolved_at is null")
        == 1
    )


def test_what_is_put_back_gets_the_digest_that_it_ran(rollout):
    """The old tag may mean something else by now."""
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.look("dead", code="crash_loop")
    rollout.advance()
    canary = rollout.targets()[0]["user_id"]
    assert rollout.hangar.live_row(canary)["docker_image"] == f"{OLD}@{OLD_DIGEST}"


def test_failures_up_to_the_share_are_put_back_and_the_release_continues(rollout):
    """Of the five apps of wave 2, one may fail at 20 %."""
    rollout.start(failure_share=0.2)
    rollout.prove()
    rollout.prove()
    rollout.apply()
    first, second = [t["user_id"] for t in rollout.targets() if t["wave"] == 2][:2]
    rollout.look("dead", only={first}, code="out_of_memory")
    rollout.advance()
    assert rollout.state()["state"] == "rolling"
    rollout.look("dead", only={second}, code="out_of_memory")
    rollout.advance()
    assert rollout.state()["state"] == "paused"
    assert re.search(r"^wave 2 failed: 2 apps \(for example \S+\): out of memory", rollout.state()["reason"])
    back = {t["user_id"] for t in rollout.targets() if t["goes_back"]}
    assert back == {first, second}, "from the second wave on, what works stays"


def test_after_a_failed_first_wave_everything_goes_back(rollout):
    rollout.start()
    rollout.prove()
    rollout.apply()
    rollout.look("dead", code="oom")
    rollout.advance()
    assert (rollout.state()["state"], rollout.moved()) == ("paused", 0)
    assert sum(t["goes_back"] for t in rollout.targets()) == 2, "the canary too, although it was good"


def test_an_app_that_was_ill_before_is_no_failure_of_the_release(rollout):
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.hangar.sql("update hangar.release_targets set was_unhealthy = true where place = 1")
    rollout.look("dead", code="check_critical")
    rollout.advance()
    assert rollout.state()["state"] == "rolling"


def test_a_first_wave_that_proves_nothing_is_replaced(rollout):
    rollout.start()
    rollout.advance()
    rollout.hangar.subscribe(rollout.targets()[0]["user_id"], tier="free")
    rollout.hangar.sql(
        "update user_fly_apps set desired_state = 'absent' where user_id = %s", rollout.targets()[0]["user_id"]
    )
    rollout.advance()
    rollout.advance()
    assert (rollout.states()[:2], rollout.state()["wave"], rollout.targets()[1]["wave"]) == (
        ["skipped", "applying"],
        0,
        0,
    )


def test_a_release_that_nobody_can_take_pauses(rollout):
    """Not if all chosen users have left: nothing is to be decided then. One for everybody would change the plans unproved."""
    for spec, user_leaves, state in (
        ({"users": [str(rollout.users[0])]}, True, "completed"),
        ({"users": [str(rollout.users[1])]}, False, "paused"),
        ({"tiers": ["elite"]}, True, "paused"),
    ):
        hangar = rollout.hangar
        hangar.sql("update user_fly_apps set tier = 'elite' where user_id = %s", rollout.users[2])
        rollout.start(**spec)
        [target] = rollout.targets()
        if user_leaves:
            hangar.sql("update user_fly_apps set desired_state = 'absent' where user_id = %s", target["user_id"])
        else:
            hangar.rpc("fly_set_user_pin", user=target["user_id"], pin={"image": OLD}, actor=ACTOR, reason="test")
        for _ in range(3):
            rollout.advance()
        assert rollout.state()["state"] == state, spec
        assert (state == "paused") == ("no app could be updated" in (rollout.state()["reason"] or ""))
        assert hangar.one(
            "select count(*) from hangar.alerts where kind = 'release_failed' and resolved_at is null"
        ) == (state == "paused")
        if state == "paused":
            rollout.change("abort")


@pytest.mark.parametrize(
    ("digest", "code"), [(OTHER_DIGEST, "wrong_digest"), (OLD_DIGEST, "wrong_digest")], ids=["another", "the old one"]
)
def test_a_good_machine_with_another_digest_has_failed(rollout, digest, code):
    """Fly goes back to the old version after a failed pull, and its checks are green."""
    rollout.start(image_digest=NEW_DIGEST)
    rollout.advance()
    rollout.apply()
    rollout.look(digest=digest)
    assert (rollout.states()[0], rollout.targets()[0]["reason_code"]) == ("failed", code)


def test_without_a_known_digest_the_old_one_still_proves_a_failed_update(rollout):
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.look(digest=OLD_DIGEST)
    assert (rollout.states()[0], rollout.targets()[0]["reason_code"]) == ("failed", "not_updated")


def test_the_digest_of_the_canary_is_what_the_others_get(rollout):
    rollout.start()
    rollout.prove()
    second = rollout.targets()[1]["user_id"]
    assert rollout.state()["image_digest"] == NEW_DIGEST
    assert rollout.hangar.live_row(second)["docker_image"] == f"{NEW}@{NEW_DIGEST}"


def test_a_machine_that_was_good_and_is_bad_has_failed_and_one_that_was_never_good_is_waited_for(rollout):
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.look("bad", code="check_critical")
    assert rollout.states()[0] == "verifying"
    rollout.look()
    rollout.look("bad", code="check_critical")
    assert rollout.states()[0] == "failed"


def test_another_instance_begins_the_soak_again(rollout):
    """Somebody has deployed or replaced the machine meanwhile: what was good before is another machine."""
    rollout.start(image=None, env={"A": "1"})
    rollout.advance()
    rollout.apply()
    rollout.look(instance="01A")
    rollout.wait(SOAK_S)
    rollout.look(instance="01B")
    assert rollout.states()[0] == "verifying"
    rollout.wait(SOAK_S)
    rollout.look(instance="01B")
    assert rollout.states()[0] == "done"


def test_a_canary_that_is_another_instance_by_now_is_started_a_second_time_again(rollout):
    """Hangar itself replaced the machine while Fly refused: what was restarted is gone. Seed 20280699."""
    rollout.start(soak_s=0)
    rollout.advance()
    rollout.apply()
    rollout.look(instance="01A")
    rollout.look("restarted")
    rollout.look("bad", code="check_critical", instance="01A")
    rollout.look(instance="01B")
    assert rollout.states()[0] == "verifying"
    rollout.wait(15)
    [asked] = rollout.advance()
    assert asked["proof"] == "restart"
    rollout.look("restarted")
    rollout.look(instance="01B")
    assert rollout.states()[0] == "done"


def test_a_machine_out_of_reach_proves_nothing_about_the_release(rollout):
    """The change waits for Fly. At the deadline the app is left out, and the release goes on with another one."""
    rollout.start()
    rollout.advance()
    [moving] = [target for target in rollout.targets() if target["state"] == "applying"]
    hangar = rollout.hangar
    hangar.save(hangar.lease(moving["user_id"]), release=True, host_ok=False)
    [told] = [
        each
        for each in hangar.rpc("fly_release", id=rollout.id)["targets"]
        if each["user_id"] == str(moving["user_id"])
    ]
    assert (told["code"], told["reason"]) == ("host_unreachable", "Fly cannot reach the machine's host")
    rollout.wait(FAST["deadline_s"] + 1)
    hangar.sql("update hangar.releases set advanced_at = hangar.now()")  # workers came all the time
    rollout.advance()
    [found] = [target for target in rollout.targets() if target["row_id"] == moving["row_id"]]
    assert (found["reason_code"], found["ends_as"], found["failed_at"]) == ("host_unreachable", "skipped", None)
    assert rollout.state()["state"] == "rolling"


def test_the_digest_of_another_image_is_not_put_back(rollout):
    """Somebody gave the machine another image by hand just before. The former image has no such digest."""
    observed = {"image": "registry.test/team/debug:v1", "image_digest": OTHER_DIGEST}
    rollout.hangar.sql("update user_fly_apps set observed_spec = %s", json.dumps(observed))
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.look("dead", code="exited")
    rollout.advance()
    rows = rollout.hangar.sql("select distinct docker_image from user_fly_apps")
    assert rows == [{"docker_image": OLD}]


def test_a_look_from_before_the_move_says_nothing(rollout):
    rollout.start()
    rollout.advance()
    rollout.apply()
    [target] = [t for t in rollout.targets() if t["state"] == "verifying"]
    stale = {
        "release": rollout.id,
        "row_id": str(target["row_id"]),
        "since": (target["applied_at"] - timedelta(seconds=1)).isoformat(),
        "verdict": "dead",
    }
    assert rollout.hangar.rpc("fly_record_release_looks", looks=[stale]) == {"recorded": 0}
    assert rollout.states()[0] == "verifying"


def test_a_look_at_a_machine_of_another_generation_says_nothing(rollout):
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.hangar.sql(
        "update user_fly_apps set generation = generation + 1 where user_id = %s", rollout.targets()[0]["user_id"]
    )
    assert rollout.look("dead", code="crash_loop") == 0
    assert rollout.states()[0] == "verifying"


def test_an_app_that_is_not_ready_at_its_deadline_has_failed(rollout):
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.wait(301)
    rollout.hangar.sql("update hangar.releases set advanced_at = hangar.now()")  # workers came all the time
    rollout.advance()
    assert rollout.state()["state"] == "paused"
    assert re.search(r"^the canary failed: 1 app \(\S+\): .*not ready after 300 s", rollout.state()["reason"])


def test_a_hold_gives_back_the_time_that_it_takes(rollout):
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.hangar.sql("update hangar.settings set paused = true")
    rollout.advance()
    rollout.wait(3600)
    rollout.hangar.sql("update hangar.releases set advanced_at = hangar.now()")
    rollout.advance()
    assert (rollout.states()[0], rollout.state()["held_by"]) == ("verifying", "paused")
    rollout.hangar.sql("update hangar.settings set paused = false")
    rollout.advance()
    assert rollout.states()[0] == "verifying"
    assert rollout.targets()[0]["deadline_at"] > datetime.now(UTC) + timedelta(seconds=3600)


@pytest.mark.parametrize(
    ("hold", "incident", "state"),
    [("deletes_paused", False, "paused"), ("deletes_paused", True, "rolling"), ("paused", False, "rolling")],
)
def test_failing_checks_count_while_only_deletions_are_held(rollout, hold, incident, state):
    """Otherwise the canary's user has the bad image until somebody allows deletions again."""
    rollout.start()
    rollout.advance()
    rollout.apply()
    hangar = rollout.hangar
    hangar.sql(f"update hangar.settings set {hold} = true")
    if incident:
        hangar.sql("select hangar.raise_alert('incident', 'fleet', 'many apps are broken', '{}')")
    rollout.advance()
    rollout.look("bad", code="check_critical", detail="not ready")
    rollout.wait(FAST["deadline_s"] + 1)
    hangar.sql("update hangar.releases set advanced_at = hangar.now()")
    rollout.advance()
    assert rollout.state()["state"] == state
    if state == "paused":
        rollout.advance()
        assert (rollout.moved(), rollout.targets()[0]["goes_back"]) == (0, True)


def test_a_look_that_says_nothing_does_not_count_while_deletions_are_held(rollout):
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.hangar.sql("update hangar.settings set deletes_paused = true")
    rollout.advance()
    rollout.look("unknown", code="check_missing")
    rollout.wait(FAST["deadline_s"] + 1)
    rollout.hangar.sql("update hangar.releases set advanced_at = hangar.now()")
    rollout.advance()
    assert rollout.state()["state"] == "rolling"


def test_what_begins_to_wait_during_a_hold_gets_no_more_than_its_time(rollout):
    """A hold of seven hours gave an app seven hours more that had just got another generation. Seed 20271757."""
    rollout.start(users=[str(user) for user in rollout.users[:2]])
    rollout.advance()
    rollout.apply()
    rollout.hangar.sql("update hangar.settings set paused = true")
    rollout.advance()
    rollout.wait(7 * 3600)
    canary = rollout.targets()[0]["row_id"]
    rollout.hangar.sql("update user_fly_apps set generation = generation + 1 where id = %s", canary)
    rollout.hangar.sql(
        "update hangar.releases set advanced_at = hangar.now(), wave_began_at = hangar.now() - interval '1 hour'"
    )
    rollout.advance()
    rollout.hangar.sql("update hangar.settings set paused = false")
    rollout.advance()
    now = rollout.hangar.one("select hangar.now()")
    [left] = [target["deadline_at"] - now for target in rollout.targets() if target["row_id"] == canary]
    assert left <= timedelta(seconds=FAST["deadline_s"])
    assert rollout.state()["wave_began_at"] <= now


def test_hours_without_a_worker_fail_nothing(rollout):
    rollout.start()
    rollout.advance()
    rollout.apply()
    rollout.wait(7200)
    rollout.advance()
    assert rollout.states()[0] == "verifying"


def test_no_more_apps_move_at_once_than_allowed(rollout):
    rollout.start(moving_share=0.25)
    rollout.prove()
    rollout.prove()
    rollout.advance()
    assert sum(state in ("applying", "verifying") for state in rollout.states()) == 3


def test_a_busy_app_is_moved_later(rollout):
    rollout.start(users=[str(rollout.users[0])])
    rollout.hangar.lease(rollout.users[0])
    rollout.advance()
    assert (rollout.states(), rollout.moved()) == (["pending"], 0)
    rollout.wait(3600)
    rollout.hangar.sql("update hangar.releases set wave_began_at = hangar.now()")
    rollout.advance()
    assert (rollout.states(), rollout.moved()) == (["applying"], 1)


@pytest.mark.parametrize("pin", [{"image": OLD}, {"held_back_until": "2999-01-01T00:00:00Z"}])
def test_a_pin_set_while_the_release_is_under_way_is_respected(rollout, pin):
    rollout.start()
    pinned = rollout.targets()[1]["user_id"]
    rollout.hangar.rpc("fly_set_user_pin", user=pinned, pin=pin, actor=ACTOR, reason="test")
    rollout.apply()
    rollout.prove()
    assert rollout.states()[:2] == ["done", "skipped"]
    assert not rollout.hangar.live_row(pinned)["docker_image"].startswith(NEW)


def test_an_app_that_is_in_another_region_by_now_is_left_alone(rollout):
    rollout.hangar.sql("update user_fly_apps set machine_region = 'sin'")
    rollout.start(regions=["sin"])
    moved = rollout.targets()[1]["user_id"]
    rollout.hangar.sql("update user_fly_apps set machine_region = 'nrt' where user_id = %s", moved)
    rollout.prove()
    assert rollout.states()[:2] == ["done", "skipped"]
    assert rollout.targets()[1]["reason_code"] == "moved"
    assert not rollout.hangar.live_row(moved)["docker_image"].startswith(NEW)


def test_two_releases_of_the_same_apps_are_refused_by_number(rollout):
    rollout.start()
    with pytest.raises(psycopg.ProgrammingError) as refused:
        rollout.hangar.rpc("fly_create_release", release={**FAST, "env": {"A": "b"}}, actor=ACTOR, why="test")
    assert f"release {rollout.id} is under way" in str(refused.value)


def test_plans_follow_only_when_every_wave_is_proved(rollout):
    rollout.start()
    for _ in range(3):
        rollout.prove()
        assert rollout.hangar.one("select default_image from hangar.settings") != f"{NEW}@{NEW_DIGEST}"
    rollout.prove()
    rollout.advance()
    assert rollout.state()["state"] == "completed"
    assert rollout.hangar.one("select default_image from hangar.settings") == f"{NEW}@{NEW_DIGEST}"


def test_a_rollback_leaves_what_a_later_release_gave(rollout):
    rollout.start()
    for _ in range(4):
        rollout.prove()
    rollout.advance()
    first = rollout.id
    later = rollout.users[0]
    rollout.start(image=f"registry.fly.io/vyx-app:v3@{NEW_DIGEST}", users=[str(later)])
    rollout.prove()
    rollout.advance()
    assert rollout.state()["state"] == "completed"
    rollout.id = first
    rollout.change("rollback")
    back = {t["user_id"] for t in rollout.targets() if t["goes_back"] or t["must_go_back"]}
    assert back == set(rollout.users) - {later}


def test_a_rollback_keeps_only_the_parts_that_a_later_release_changed(rollout):
    rollout.start()
    for _ in range(4):
        rollout.prove()
    rollout.advance()
    first = rollout.id
    later = rollout.users[0]
    rollout.start(image=None, env={"LEVEL": "debug"}, users=[str(later)])
    rollout.prove()
    rollout.advance()
    rollout.id = first
    rollout.change("rollback")
    back = {t["user_id"] for t in rollout.targets() if t["goes_back"] or t["must_go_back"]}
    assert back == set(rollout.users)
    found = rollout.hangar.one("select to_jsonb(y) from hangar.user_specs y where user_id = %s", later)
    assert (found["image"], found["env"]) == (None, {"LEVEL": "debug"})


def test_a_user_who_returns_has_no_move_of_a_release_that_is_gone(hangar):
    """I13: only a release that is under way moves an app. Here the release's own end did not reach the row."""
    user = hangar.user("pro")
    hangar.converge(user)
    hangar.subscribe(user, tier="free")
    assert hangar.live_row(user)["desired_state"] == "absent"
    hangar.sql("set session_replication_role = replica")
    hangar.sql("update user_fly_apps set move_release_id = 77 where user_id = %s", user)
    hangar.sql("set session_replication_role = origin")
    hangar.subscribe(user, tier="pro")
    row = hangar.live_row(user)
    assert (row["desired_state"], row["move_release_id"]) == ("present", None)


def test_a_machine_without_its_pin_has_the_image_of_the_plan(hangar):
    """I13: what `without_pin` leaves out is what a release then gives; the image of a pin does not stay in it."""
    user = hangar.user("pro")
    hangar.converge(user)
    plain = hangar.live_row(user)["docker_image"]
    hangar.rpc("fly_set_user_pin", user=user, pin={"image": "registry.example/app:pinned"}, actor="ops")
    hangar.follow()
    assert hangar.live_row(user)["docker_image"] == "registry.example/app:pinned"
    query = "select (hangar.without_pin(a, hangar.spec_of(a))).docker_image from user_fly_apps a where a.user_id = %s"
    assert hangar.one(query, user) == plain
