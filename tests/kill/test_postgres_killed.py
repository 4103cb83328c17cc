"""What remains after a kill: of the host's write and Hangar's, of pg_net's queue; and what SIGTERM does to a request."""

import random
import threading

import psycopg
import pytest

from local.dev.database import FREE_USERS
from local.http_server import Response
from tests.kill.checks import find_broken, find_last_deadline_s, find_undesired
from tests.kill.cloud import KillCloud, until
from tests.kill.host import STRANGER, Host

# Recovery of Postgres on a busy disk is slow.
pytestmark = [pytest.mark.timeout(600), pytest.mark.proof]
SET_TIER = "update public.user_subscriptions set tier = %s where user_id = %s"
USERS = [user.id for user in FREE_USERS]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    with KillCloud(tmp_path_factory.mktemp("kill") / "cloud") as cloud:
        Host(cloud, random.Random(0)).prepare()  # noqa: S311  no test here depends on it
        yield cloud


@pytest.fixture(autouse=True)
def at_rest(cloud):
    """Before each test no user pays and no app exists. The schedule is off: the test starts the sweeps."""
    cloud.deliver = cloud.pass_to
    cloud.watch = lambda _slot, _call, pass_on: pass_on()
    for user in USERS:
        cloud.sql(SET_TIER, "free", user)
    cloud.settle()
    sweep_twice(cloud)
    assert count_apps(cloud) == 0


def count_apps(cloud):
    return sum(app["name"] != STRANGER for app in cloud.control("GET", "world")["apps"])


def sweep_twice(cloud):
    """Call health twice, each time after the last open deadline."""
    for _ in range(2):
        cloud.control("POST", "clock", {"advance_s": find_last_deadline_s(cloud) + 1})
        assert cloud.ask_health("health 1").status == 200
        cloud.settle()


def count_queued(cloud):
    return cloud.sql("select count(*) from net.http_request_queue")[0][0]


@pytest.mark.slow
def test_a_commit_that_was_answered_outlives_a_kill_together_with_what_it_asks_for(cloud):
    """I1, I12: Postgres is killed right after the host's COMMIT is answered. Subscription and mark are both saved."""
    for round_, tier in enumerate(("pro", "free", "elite")):
        cloud.sql(SET_TIER, tier, USERS[round_ % 3])
        cloud.kill_postgres()
        assert cloud.sql("select tier from public.user_subscriptions where user_id = %s", USERS[round_ % 3]) == [
            (tier,)
        ]
        assert find_undesired(cloud) == []


@pytest.mark.slow
def test_a_write_that_a_kill_cuts_short_leaves_neither_half(cloud):
    """I1, I12: Postgres is killed between the host's UPDATE and its COMMIT. Neither subscription nor mark is left."""
    session = psycopg.connect(cloud.database_url)
    session.execute(SET_TIER, ("pro", USERS[0]))
    marked = session.execute("select user_id::text from hangar.marks").fetchall()
    assert marked == [(str(USERS[0]),)]
    cloud.kill_postgres()
    with pytest.raises(psycopg.OperationalError):
        session.commit()
    session.close()
    assert cloud.sql("select tier from public.user_subscriptions where user_id = %s", USERS[0]) == [("free",)]
    assert cloud.sql("select 1 from hangar.marks") == []


@pytest.mark.slow
def test_a_kill_under_many_writes_leaves_each_whole_or_undone(cloud):
    """I12: four sessions of the host write while Postgres is killed and restarted. The only failures are cut connections."""
    failures, stop = [], threading.Event()

    def write(seat):
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                cloud.sql(SET_TIER, ("pro", "free")[turn % 2], USERS[seat % 3])
            except (psycopg.OperationalError, psycopg.InterfaceError):
                pass  # what the kill is for
            except psycopg.Error as failure:
                failures.append(failure)
            stop.wait(0.01)

    writers = [threading.Thread(target=write, args=(seat,)) for seat in range(4)]
    for writer in writers:
        writer.start()
    for _ in range(2):
        cloud.kill_postgres()
    stop.set()
    for writer in writers:
        writer.join()
    assert failures == []
    cloud.settle()
    sweep_twice(cloud)
    assert find_broken(cloud) == []


@pytest.mark.slow
def test_crash_recovery_empties_pg_nets_queue_and_the_sweep_makes_it_good(cloud):
    """Postgres is killed before a queued nudge is sent. The unlogged queue is empty afterwards, and the sweep provisions."""
    holds = threading.Event()

    def hold(_function, _request):
        holds.wait(60)
        return Response(200, b"{}")

    cloud.deliver = hold
    cloud.sql(SET_TIER, "pro", USERS[0])  # pg_net waits for this nudge, so the next one stays queued
    with psycopg.connect(cloud.database_url) as session:
        session.execute(SET_TIER, ("pro", USERS[1]))
        (queued,) = session.execute("select count(*) from net.http_request_queue").fetchone()
        assert queued >= 1
        session.commit()
        cloud.kill_postgres()
    assert count_queued(cloud) == 0
    holds.set()
    cloud.deliver = cloud.pass_to
    cloud.settle()
    assert count_apps(cloud) == 0
    sweep_twice(cloud)
    assert count_apps(cloud) == 2
    assert find_broken(cloud) == []


@pytest.mark.slow
def test_a_function_asked_to_end_finishes_its_request_and_leaves_no_lease(cloud):
    """SIGTERM while Fly creates the app: the request is answered, the app exists, the process ends with 0."""
    arrived, go_on, answers = threading.Event(), threading.Event(), []

    def hold(_slot, call, pass_on):
        if call == "POST /v1/apps":
            arrived.set()
            go_on.wait(60)
        return pass_on()

    cloud.deliver = lambda _function, _request: Response(200, b"{}")
    cloud.watch = hold
    cloud.sql(SET_TIER, "pro", USERS[0])
    slot = cloud.slots["health 1"]
    asking = threading.Thread(target=lambda: answers.append(cloud.ask_health("health 1")))
    asking.start()
    assert arrived.wait(60)
    slot.child.ask_to_stop()
    until(lambda: "Handling signal: term" in slot.child.log.read_text(), "the signal did not reach the server")
    go_on.set()
    asking.join()
    until(lambda: slot.is_dead, "the function did not end")
    assert "ended with code 0" in (slot.child.failure() or "")
    cloud.repair()
    (answer,) = answers
    assert answer.status == 200
    assert cloud.sql("select status, lease_token from public.user_fly_apps where deleted_at is null") == [
        ("active", None)
    ]
    sweep_twice(cloud)
    assert find_broken(cloud) == []
