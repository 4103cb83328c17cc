"""An alert is told once, stays open for as long as what it tells lasts, and then ends once: no kind of alert flaps."""

from dataclasses import replace
from uuid import UUID

import pytest

from shared.adapters.notifications import Notifier
from shared.domain.errors import HangarError
from shared.fleet.sweep import Sweep
from tests.simulation.test_guards import MINUTES, have_active_users
from tests.support.alert_receiver import AlertReceiver

HOUR = 60 * MINUTES


@pytest.fixture
def receiver(world):
    made = AlertReceiver()
    world.reconciler.notifier = Notifier(world.reconciler.database, [made.make_webhook()], world.clock)
    world.sweep()
    return made


def sweep_for(world, minutes):
    """A sweep every five minutes and a drain between them; Fly may be out of reach."""
    for _ in range(round(minutes / 5)):
        world.clock.advance(150)
        world.sweep(drain_only=True)
        world.clock.advance(150)
        try:
            world.sweep()
        except HangarError:
            continue


def told(receiver, kind):
    """Whether each message of this kind said that it is over; of incidents those of apps that broke."""
    return [is_over for _, key, is_over in receiver.list_told(kind) if (kind, key) != ("incident", "health")]


@pytest.mark.parametrize(
    ("kind", "setting", "limit", "enough"),
    [("max_cost", "max_monthly_cost_usd", 13, 100), ("max_apps", "max_apps", 2, 9)],
)
@pytest.mark.slow
def test_a_cap(world, receiver, kind, setting, limit, enough):
    """Users of different prices wait for hours. It ends when the cap has room, within one sweep."""
    world.sql(f"update hangar.settings set {setting} = {limit}")
    world.add_users(["pro", "pro", "elite", "pro"])
    sweep_for(world, 180)
    assert told(receiver, kind) == [False]
    world.sql(f"update hangar.settings set {setting} = {enough}")
    sweep_for(world, 15)
    assert told(receiver, kind) == [False, True]
    assert world.open_alerts() == set()


@pytest.mark.slow
def test_the_brake(world, receiver):
    """Twelve users leave and four may go in an hour: the brake holds for hours, and one place after another becomes free."""
    users = have_active_users(world, 12)
    world.sql("update hangar.settings set brake_floor = 4, brake_share = 0")
    for user in users:
        world.set_tier(user, "free")
        sweep_for(world, 10)
    assert told(receiver, "brake") == [False]
    sweep_for(world, 280)
    assert len(world.apps()) == 0
    assert told(receiver, "brake") == [False, True]


@pytest.mark.slow
def test_the_brake_ends_when_nothing_waits_for_it(world, receiver):
    """The users pay again, so that what was taken away within the hour stops nobody."""
    users = have_active_users(world, 4)
    world.sql("update hangar.settings set brake_floor = 2, brake_share = 0")
    for user in users:
        world.set_tier(user, "free")
    sweep_for(world, 10)
    assert told(receiver, "brake") == [False]
    for user in users:
        world.set_tier(user, "pro")
    sweep_for(world, 70)
    assert told(receiver, "brake") == [False, True]


@pytest.mark.slow
def test_one_function_with_a_wrong_installation_id(world, receiver):
    """The sweep runs in another function, with the right one. Each call of the wrong one says the same."""
    wrong = world.new_worker()
    wrong.notifier = world.reconciler.notifier
    wrong.inputs = replace(wrong.inputs, installation_id=UUID(int=1))
    for _ in range(6):
        wrong.reconcile(world.add_user("pro"), 50)
        sweep_for(world, 30)
    assert told(receiver, "installation") == [False]
    sweep_for(world, 45)
    assert told(receiver, "installation") == [False, True]


def test_a_whole_installation_with_a_wrong_id(world, receiver):
    """It ends with the first whole sweep that has the right one."""
    right = world.reconciler.inputs
    world.reconciler.inputs = replace(right, installation_id=UUID(int=1))
    sweep_for(world, 30)
    assert told(receiver, "installation") == [False]
    world.reconciler.inputs = right
    sweep_for(world, 5)
    assert told(receiver, "installation") == [False, True]


def test_fly_out_of_reach(world, receiver):
    have_active_users(world, 1)
    world.fault(method="GET", path="/v1/orgs/*/machines", when="before", status=503)
    sweep_for(world, 30)
    assert told(receiver, "fly_unreachable") == [False]
    world.set_faults()
    sweep_for(world, 10)
    assert told(receiver, "fly_unreachable") == [False, True]


def make_orphan(world, number=1):
    """An app of ours without a row, of a user whom nobody knows."""
    mark = str(world.installation_id).replace("-", "")[:12]
    name, network = f"left-behind-{number}", f"hangar-{mark}-{number:032x}"
    world.reconciler.fly.create_app(name, network=network, idempotency_key=f"k{number}", budget_s=20)
    return name


def test_an_orphan_that_cannot_be_read(world, receiver, monkeypatch):
    """Sweeps that have no time for it say nothing. The first answer about it ends the alert."""
    name = make_orphan(world)
    unreadable = {"method": "GET", "path": "/v1/apps/*", "when": "before", "status": 503}
    world.set_faults(unreadable)
    sweep_for(world, 15)
    assert told(receiver, "orphan_look") == [False]
    world.sql("update hangar.settings set paused = true")  # keep the orphan for the test
    monkeypatch.setattr(Sweep, "_is_time_up", lambda _: True)
    sweep_for(world, 20)
    monkeypatch.undo()
    sweep_for(world, 5)
    assert told(receiver, "orphan_look") == [False]
    world.set_faults()
    sweep_for(world, 5)
    assert told(receiver, "orphan_look") == [False, True]
    assert name in world.apps()


@pytest.mark.slow
def test_orphans_that_one_list_lacks(world, receiver):
    """One short list ends nothing; two in a row do."""
    world.sql("update hangar.settings set paused = true")
    make_orphan(world)
    sweep_for(world, 20)
    assert told(receiver, "orphans") == [False]
    for _ in range(3):
        world.fault(
            method="GET", path="/v1/apps", when="before", status=200, body={"apps": [], "total_apps": 0}, times=1
        )
        sweep_for(world, 20)
    assert told(receiver, "orphans") == [False]
    world.fault(method="GET", path="/v1/apps", when="before", status=200, body={"apps": [], "total_apps": 0})
    sweep_for(world, 10)
    assert told(receiver, "orphans") == [False, True]


@pytest.mark.slow
def test_an_incident_in_a_region_that_cannot_be_read_meanwhile(world, receiver):
    """Unknown is not healthy."""
    users = have_active_users(world, 12)
    sweep_for(world, 5)
    world.sql("update hangar.settings set incident_floor = 1")
    start_fails = {"method": "POST", "path": "/v1/apps/*/machines/*/start", "when": "before", "status": 503}
    world.set_faults(start_fails)
    for user in users:
        world.control("POST", f"machines/{world.row(user)['machine_id']}/crash", {})
    sweep_for(world, 10)
    assert told(receiver, "incident") == [False]
    region = world.row(users[0])["machine_region"]
    world.control("PUT", f"regions/{region}", {"error": True})
    world.set_faults(start_fails, {"method": "GET", "path": "/v1/apps/*/machines/*", "when": "before", "status": 503})
    sweep_for(world, 20)
    assert told(receiver, "incident") == [False]
    world.control("PUT", f"regions/{region}", {})
    world.set_faults()
    sweep_for(world, 120)
    assert told(receiver, "incident") == [False, True]


@pytest.mark.slow
def test_apps_that_are_stalled_while_settings_change(world, receiver):
    """A change of the settings starts the hour again for others, and does not end the alert of those that wait already."""
    user = world.add_user("pro")
    world.sql(
        "update public.user_fly_apps set next_attempt_at = hangar.now() + interval '1 day' where user_id = %s", user
    )
    world.clock.advance(HOUR)
    sweep_for(world, 10)
    assert told(receiver, "provisioning_slow") == [False]
    world.sql("select public.fly_set_settings('{\"max_apps\": 50}', 'operator', 'unrelated')")
    sweep_for(world, 90)
    assert told(receiver, "provisioning_slow") == [False]
    world.sql("update public.user_fly_apps set next_attempt_at = hangar.now()")
    sweep_for(world, 5)
    assert told(receiver, "provisioning_slow") == [False, True]


def test_a_tier_without_a_plan_and_calls_that_cannot_be_made(world, receiver):
    """Both are looked at by every sweep."""
    world.sql("delete from public.fly_plans where tier = 'elite'")
    world.add_user("elite")
    sweep_for(world, 60)
    assert (told(receiver, "unknown_tier"), told(receiver, "nudges")) == ([False], [False])
    world.sql("insert into public.fly_plans (tier, dedicated) values ('elite', true)")
    sweep_for(world, 5)
    assert told(receiver, "unknown_tier") == [False, True]
