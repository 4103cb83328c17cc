"""How long Hangar waits, for what, and that every wait ends."""

from datetime import datetime


def wait_s(world, user):
    """Seconds until the next attempt, and how many tries it has taken."""
    row = world.row(user)
    return datetime.fromisoformat(row["next_attempt_at"]).timestamp() - world.clock(), row["retry_count"]


def test_the_wait_doubles_with_every_round_that_failed(world):
    """I7: retry_base_s after the first four tries, twice that after the next four, with up to a quarter off by chance."""
    world.fault(method="POST", path="/v1/apps", when="before", status=503)
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    first, tries = wait_s(world, user)
    assert tries == 4
    assert 220 <= first <= 300
    world.clock.advance(first + 1)
    world.sweep(drain_only=True)
    second, tries = wait_s(world, user)
    assert tries == 8
    assert 445 <= second <= 600


def test_the_wait_never_exceeds_its_cap(world):
    """I8: however often it failed, the next try is at most retry_cap_s away."""
    world.fault(method="POST", path="/v1/apps", when="before", status=503)
    user = world.add_user("pro")
    world.sql("update public.user_fly_apps set retry_count = 60")
    world.reconciler.database.claim_due(1, "another")  # and it dies
    world.clock.advance(121)
    world.sweep(drain_only=True)
    wait, tries = wait_s(world, user)
    assert tries == 64
    assert 1300 <= wait <= 1800


def test_a_refusal_waits_the_longest(world):
    """A refusal that may need an operator is retried every half an hour, not every few minutes."""
    world.fault(method="POST", path="/v1/apps", when="before", status=422, body={"error": "validation failed"})
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    assert wait_s(world, user) == (1800, 1)


def test_a_worker_frozen_behind_its_save_leaves_fly_alone(world):
    """I6: another worker may hold the lease and have closed the intent. It does the remaining work."""
    user = world.add_user("pro")
    forward = world.store.rpc

    def freeze(name, args):
        answer = forward(name, args)
        if name == "fly_save" and answer and answer["row"]["open_intent"]:
            world.clock.advance(41)
        return answer

    world.store.rpc = freeze
    outcome = world.reconciler.reconcile(user, 240)
    assert (outcome.state, outcome.code) == ("pending", "lease_lost")
    assert [call for call in world.boundaries.calls if call[0] != "GET"] == []
    assert world.row(user)["error_code"] is None
    world.reconciler = world.new_worker()
    world.settle()
    assert world.row(user)["status"] == "active"


def test_a_name_that_comes_free_is_taken_without_another_attempt(world):
    """Fly holds a deleted app's name briefly. The same worker waits and requests it again."""
    body = {"error": "Validation failed: Name has already been taken"}
    world.fault(method="POST", path="/v1/apps", when="before", status=422, body=body, times=1)
    user = world.add_user("pro")
    name = world.row(user)["fly_app_name"]
    assert world.reconciler.reconcile(user, 60).status == "active"
    assert world.row(user)["fly_app_name"] == name


def test_a_machine_that_does_not_start_is_waited_for_within_the_deadline(world):
    """A wait requested from Fly is at most the time left for the call."""
    user = world.add_user("pro")
    world.fault(method="GET", path="/v1/apps/*/machines/*/wait", when="before", delay_s=0, status=408)
    waits = []
    forward = world.reconciler.fly.wait_machine

    def remember(*args, **named):
        waits.append((named["timeout_s"], ends_at - world.clock()))
        return forward(*args, **named)

    world.reconciler.fly.wait_machine = remember
    ends_at = world.clock() + 12
    world.reconciler.reconcile(user, 12)
    assert waits
    assert all(timeout_s <= left for timeout_s, left in waits)


def test_the_machines_id_is_saved_before_the_wait(world):
    """If the worker dies while waiting, the next one finds the id on the row."""
    user = world.add_user("pro")
    known = []
    forward = world.reconciler.fly.wait_machine

    def remember(app, machine_id, *args, **named):
        known.append((machine_id, world.row(user)["machine_id"]))
        return forward(app, machine_id, *args, **named)

    world.reconciler.fly.wait_machine = remember
    world.reconciler.reconcile(user, 60)
    assert known
    assert all(asked == stored for asked, stored in known)


def test_a_machine_is_made_with_the_secrets_that_were_just_set(world):
    """Fly is told which version of the secrets the machine must have: without it, it may start with none."""
    user = world.add_user("pro")
    told = []
    forward = world.reconciler.fly.create_machine

    def remember(*args, **named):
        told.append(named["min_secrets_version"])
        return forward(*args, **named)

    world.reconciler.fly.create_machine = remember
    world.reconciler.reconcile(user, 60)
    assert told == [world.row(user)["secrets_version"]]
    assert told != [None]
