"""The kill switch, and everything else that forbids a call, is asked before each attempt, not only before the first."""

import pytest

from shared.domain.errors import TransientError
from tests.simulation.test_guards import have_active_users, make_app, our_network, sweep_for


def during_the_first_wait(world, do):
    """Run `do` once, while the worker waits before it repeats a call."""
    forward, waited = world.reconciler.sleep, []

    def sleep(seconds):
        if not waited:
            waited.append(seconds)
            do()
        forward(seconds)

    world.reconciler.sleep = sleep
    return waited


def refuse(world, method, path, times):
    world.fault(method=method, path=path, when="before", status=503, body={"error": "try later"}, times=times)


def statuses(world, action):
    """The statuses of this action in the log, oldest first."""
    query = "select status, metadata from public.user_fly_app_events where event_type = 'action' order by seq"
    return [status for status, metadata in world.sql(query) if metadata["action"] == action]


def pause(world):
    world.sql("select public.fly_set_paused(true, 'operator')")


def test_a_pause_during_a_wait_stops_the_next_attempt(world):
    """D5: the machine's create is answered 503 and the operator pauses. No machine is made until the resume."""
    user = world.add_user("pro")
    refuse(world, "POST", "/v1/apps/*/machines", 1)
    waited = during_the_first_wait(world, lambda: pause(world))
    result = world.reconciler.reconcile(user, 240)
    assert waited
    assert result.code == "paused"
    assert [machines for machines in world.apps().values() if machines] == []
    assert statuses(world, "create_machine") == ["intent", "unknown"]
    assert world.row(user)["open_intent"] is None
    assert world.row(user)["error_message"] is None
    world.sql("select public.fly_set_paused(false, 'operator')")
    world.settle()
    assert world.row(user)["status"] == "active"
    assert {name: len(machines) for name, machines in world.apps().items()} == {world.row(user)["fly_app_name"]: 1}


def lose_database_rows(world):
    world.sql(
        "insert into public.fly_orphans (app, network, lost) select 'lost-' || n, 'n-' || n, true from generate_series(1, 4) n"
    )


@pytest.mark.parametrize(
    ("meanwhile", "code"),
    [
        (lambda world, _: pause(world), "paused"),
        (lambda world, _: world.sql("update hangar.settings set deletes_paused = true"), "deletes_paused"),
        (lambda world, _: lose_database_rows(world), "brake"),
        (lambda world, user: world.set_tier(user, "pro"), "converged"),
    ],
    ids=["paused", "deletes-paused", "brake", "the-user-pays-again"],
)
def test_a_deletion_is_not_attempted_again_when_it_is_forbidden_meanwhile(world, meanwhile, code):
    """D5: the app is there after the wait, and the user who pays again keeps it."""
    (user,) = have_active_users(world, 1)
    app = world.row(user)["fly_app_name"]
    world.set_tier(user, "free")
    refuse(world, "DELETE", f"/v1/apps/{app}", 1)
    waited = during_the_first_wait(world, lambda: meanwhile(world, user))
    result = world.reconciler.reconcile(user, 240)
    assert waited
    assert result.code == code
    assert app in world.apps()
    assert statuses(world, "delete_app") == ["intent", "unknown"]


def test_a_call_that_is_allowed_is_repeated_as_before(world):
    """One intent, one outcome, and the app is active in the same run; the rate and the limits do not count it twice."""
    user = world.add_user("pro")
    world.sql("update hangar.settings set max_apps = 1")
    refuse(world, "POST", "/v1/apps", 2)
    refuse(world, "POST", "/v1/apps/*/machines", 2)
    assert world.reconciler.reconcile(user, 240).code == "converged"
    assert statuses(world, "create_app") == statuses(world, "create_machine") == ["intent", "succeeded"]
    world.sql("update hangar.settings set deletes_per_minute = 1")
    world.set_tier(user, "free")
    refuse(world, "DELETE", "/v1/apps/*", 2)
    assert world.reconciler.reconcile(user, 240).code == "converged"
    assert world.apps() == {}


def test_an_orphans_removal_is_attempted_once_for_each_verdict(world):
    """D5: the next sweep asks the kill switch again before the next attempt."""
    make_app(world, "orphan", our_network(world))
    sweep_for(world, 10)
    refuse(world, "DELETE", "/v1/apps/orphan", 1)
    world.sql("select public.fly_approve_orphan('orphan', 'operator')")
    world.clock.advance(300)
    world.sweep()
    assert "orphan" in world.apps()
    assert statuses(world, "delete_app") == ["intent", "unknown"]
    sweep_for(world, 5)
    assert "orphan" not in world.apps()


def test_without_an_answer_of_the_database_there_is_no_further_attempt(world, monkeypatch):
    """D5: after the wait the database is out of reach, so the pause is not known. The call waits and asks again."""
    user = world.add_user("pro")
    refuse(world, "POST", "/v1/apps/*/machines", 1)
    store = world.reconciler.database._store
    forward, failures = store.rpc, []

    def rpc(name, args):
        intents = [each["metadata"]["action"] for each in args.get("p_events", []) if each["status"] == "intent"]
        if "create_machine" in intents and statuses(world, "create_machine") and not failures:
            failures.append(sum(map(len, world.apps().values())))
            raise TransientError("the database is away")
        return forward(name, args)

    monkeypatch.setattr(store, "rpc", rpc)
    during_the_first_wait(world, lambda: pause(world))
    assert world.reconciler.reconcile(user, 240).code == "paused"
    assert failures == [0]
    assert [machines for machines in world.apps().values() if machines] == []
