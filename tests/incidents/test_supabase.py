"""Incidents of Supabase: calls lost, no writes, no connections, no schedule, yesterday's data."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import sql

from shared.adapters.database import explain_refusal
from shared.domain.errors import TransientError
from shared.domain.status_text import describe_sweep
from tests.incidents.fleet import MINUTE, Fleet, act_after
from tests.simulation.test_restored import copy, point_at  # noqa: F401  `copy` is a fixture
from tests.support.destruction_watch import find_wrong_apps
from tests.support.world import World

# They change the settings of sessions and end sessions, so they do not share a database.
pytestmark = pytest.mark.usefixtures("database")

URL, SECRET = "http://127.0.0.1:9/functions", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@pytest.fixture
def woken_fleet(fleet) -> Fleet:
    """The same fleet where the host's changes reach Hangar only by what it sends, or by the schedule."""
    fleet.world.sql("select vault.create_secret(%s, 'hangar_functions_url')", URL)
    fleet.world.sql("select vault.create_secret(%s, 'hangar_webhook_secret')", SECRET)
    fleet.world.follows = False
    return fleet


def count_queued(world: World) -> int:
    [(count,)] = world.sql("select count(*) from net.http_request_queue")
    return int(count)


def test_the_queue_of_pg_net_is_lost(woken_fleet):
    """Supabase cut the shutdown of a large project off after 90 s, and crash recovery followed, many times.

    Source: https://manifoldmarkets.notion.site/Supabase-reboot-loop-timeline-93dc99599dad43b183bdc48033890824 (17 July
    2023); https://github.com/supabase/pg_net/issues/97: the queue is unlogged, so crash recovery empties it.

    The wake-up calls of one user who signs up and one who leaves are lost. Their marks are in a logged table, so the
    next drain serves both. No alert: nothing is late by more than a minute.
    """
    fleet, leaves = woken_fleet, woken_fleet.users.pop()
    del fleet.before[leaves]
    world, new = fleet.world, fleet.world.add_user("pro")
    world.set_tier(leaves, "free")
    assert count_queued(world) > 0
    world.sql("truncate net.http_request_queue")
    assert world.row(new) == {}
    world.clock.advance(MINUTE)
    fleet.call_health(drain_only=True)
    assert (world.row(new)["status"], world.row(leaves)["status"]) == ("active", "deleted")
    assert fleet.alerts == set()
    fleet.assert_untouched()
    fleet.assert_well()


@pytest.mark.slow
def test_pg_net_sends_nothing_for_days(woken_fleet):
    """Webhooks were no longer sent; the requests stayed in `http_request_queue`.

    Source: https://github.com/supabase/supabase/issues/13613 (11 April 2023).

    Drains, which another scheduler starts in this case, serve every change within a minute. The queue is never needed:
    when it is sent days later, all at once and twice, the calls change nothing. No alert.
    """
    fleet = woken_fleet
    world, new = fleet.world, []
    for _ in range(3):
        new += world.add_users(["pro"])
        world.clock.advance(MINUTE)
        fleet.call_health(drain_only=True)
        assert world.row(new[-1])["status"] == "active"
        fleet.pass_time(24, 12 * 3600)
    assert count_queued(world) >= 3
    calls = world.watch_calls()
    for _ in range(2 * count_queued(world)):
        fleet.call_health(drain_only=True)
    assert calls == []
    fleet.assert_untouched()
    fleet.assert_well()


def set_read_only(world: World, *, is_on: bool) -> None:
    """What Supabase does at 95 % of the disk: a default of the database. It concerns sessions that begin after it."""
    [(name,)] = world.sql("select current_database()")
    world.host.execute(
        sql.SQL("alter database {} set default_transaction_read_only = {}").format(
            sql.Identifier(name), sql.Literal("on" if is_on else "off")
        )
    )
    world.reconciler = world.new_worker()


def test_the_database_is_read_only_for_hours(fleet):
    """Supabase makes a project read-only when its disk is 95 % full, and it may stay so for hours.

    Source: https://github.com/supabase/supabase/pull/9824; https://github.com/supabase/supabase/issues/32689 (9 January
    2025); https://github.com/citusdata/pg_cron/issues/270.

    Hangar cannot record an intent, so it sends no write to Fly. Every drain and sweep answers 503, and the log names
    the cause and the remedy. No alert can be stored meanwhile. Afterwards everything continues where it was.
    """
    world = fleet.world
    new = world.add_user("pro")
    set_read_only(world, is_on=True)
    calls = world.watch_calls()
    fleet.pass_time(3, 15 * MINUTE)
    assert len(fleet.failures) == 24
    assert {type(failure) for failure in fleet.failures} == {TransientError}
    assert "read-only" in str(fleet.failures[0])
    assert "disk" in fleet.failures[0].advice
    assert [call for call in calls if call[0] != "GET"] == []
    fleet.assert_untouched()
    set_read_only(world, is_on=False)
    fleet.assert_well()
    fleet.assert_untouched()
    assert world.row(new)["status"] == "active"


@pytest.mark.parametrize("path_end", ["/v1/apps", "/secrets", "/machines"])
def test_the_database_becomes_read_only_while_an_app_is_made(fleet, path_end):
    """The database becomes read-only after Fly has done a call and before Hangar has stored that.

    Source: https://github.com/supabase/supabase/pull/9824.

    The worker stops. When the database accepts writes again, the next worker finds on Fly what exists and continues
    with it: one app, one machine. No alert remains.
    """
    world = fleet.world
    worker = world.store._session.connection
    act_after(fleet, path_end, lambda: worker.execute("set default_transaction_read_only = on"))
    new = world.add_user("pro")
    fleet.call_health(drain_only=True)
    assert world.row(new)["status"] != "active"
    fleet.pass_time(0.5)
    worker.execute("set default_transaction_read_only = off")
    fleet.assert_well()
    fleet.assert_untouched()
    assert world.row(new)["status"] == "active"


def refuse(fleet: Fleet, failure: Callable[[str], Exception], share: float) -> Callable[[], None]:
    """From now on this share of the calls to the database fails before it does anything. The answer ends that."""
    link = fleet.world.store
    forward = link.rpc

    def fail(name: str, args: dict[str, Any]) -> Any:
        if fleet.world.random.random() < share:
            raise failure(name)
        return forward(name, args)

    link.rpc = fail

    def end() -> None:
        link.rpc = forward

    return end


NO_CONNECTION = {
    "53300": "remaining connection slots are reserved for non-replication superuser connections",
    "PGRST003": "Timed out acquiring connection from connection pool",
    "PGRST000": "Could not connect with the database: FATAL: Max client connections reached",
}


@pytest.mark.slow
@pytest.mark.parametrize(("code", "share"), [("53300", 1.0), ("53300", 0.3), ("PGRST003", 0.3), ("PGRST000", 0.6)])
def test_connections_are_exhausted(fleet, code, share):
    """All connections were in use for an afternoon; another time the pooler lost most of its clients.

    Source: https://github.com/supabase/supabase/issues/2531 (24 July 2021);
    https://status.supabase.com/incidents/zk493yyz17hy (29 January 2025).

    Drains and sweeps answer 503 and are made again, also those that had begun a change. Nobody loses an app and nothing
    is made twice, although calls fail at any point between intent and outcome. No alert can be stored while every call
    fails.
    """
    world, leaves = fleet.world, fleet.users.pop()
    del fleet.before[leaves]
    new = world.add_users(["pro"] * 2)
    world.set_tier(leaves, "free")
    end = refuse(fleet, lambda name: explain_refusal(name, code, NO_CONNECTION[code]), share)
    fleet.pass_time(1, 10 * MINUTE)
    assert fleet.failures
    assert all(isinstance(failure, TransientError) for failure in fleet.failures)
    fleet.assert_untouched()
    end()
    fleet.assert_well(hours=1.5)
    fleet.assert_untouched()
    assert {world.row(user)["status"] for user in new} == {"active"}
    assert world.row(leaves)["status"] == "deleted"


def test_pg_cron_stops_for_eleven_hours(woken_fleet):
    """On Supabase every job of pg_cron stopped at 23:17 and ran again at 10:46, without a trace in its log.

    Source: https://github.com/citusdata/pg_cron/issues/354 (3 September 2024).

    No drain and no sweep runs, and no wake-up call arrives, so nothing happens on Fly. The first sweep afterwards finds
    a subscription that ended and a machine that crashed. The operator sees no alert: `hangar status` and the dashboard
    say since when no sweep was complete.
    """
    fleet, ends = woken_fleet, woken_fleet.users.pop()
    del fleet.before[ends]
    world, crashed = fleet.world, fleet.users[0]
    until = "update public.user_subscriptions set expires_at = to_timestamp(%s) where user_id = %s"
    world.sql(until, world.clock() + 3600, ends)
    new = world.add_user("pro")
    world.control("POST", f"machines/{world.row(crashed)['machine_id']}/crash", {})
    world.clock.advance(11.5 * 3600)
    assert fleet.read_machines().keys() == {*fleet.users[1:], ends}
    [(overview,)] = world.sql("select public.fly_overview()")
    assert describe_sweep(overview["sweep"], datetime.fromtimestamp(world.clock(), UTC)).state == "late"
    fleet.call_health()
    fleet.call_health(drain_only=True)
    assert (world.row(new)["status"], world.row(ends)["status"]) == ("active", "deleted")
    fleet.assert_untouched()
    fleet.assert_well()


@pytest.mark.slow
def test_the_database_is_restored_from_yesterday(fleet, copy):  # noqa: F811  the fixture
    """A test run wiped out the data of a project, and a daily backup was the way back.

    Source: https://github.com/supabase/supabase/issues/46497 (29 May 2026).

    Two users came after the backup. The restored database does not know them, but Hangar destroys nothing that it does
    not know: both keep what runs, and get it back with their subscriptions. The operator sees `brake` and `orphans`,
    corrects the subscriptions, and releases the brake.
    """
    world = fleet.world
    world.sql("update hangar.settings set brake_lost = 1")
    yesterday = copy(world)
    fleet.pass_time(24, 6 * 3600)
    new = world.add_users(["pro"] * 2)
    fleet.pass_time(0.25)
    ran = fleet.read_machines()
    assert ran.keys() == {*fleet.users, *new}
    point_at(world, yesterday)
    fleet.pass_time(1)
    assert fleet.read_machines() == ran
    assert "brake" in fleet.kinds
    for user in new:
        world.sql("insert into auth.users (id, email) values (%s, %s)", user, f"{user.hex[:8]}@example.test")
        world.set_tier(user, "pro")
    fleet.pass_time(0.5)
    world.sql("select public.fly_release_brake('operator', 'restored, and the subscriptions are corrected')")
    fleet.pass_time(1)
    assert find_wrong_apps(world) == []
    assert fleet.read_machines() == ran
    fleet.assert_untouched()
    assert world.open_alerts() == set()
