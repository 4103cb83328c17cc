"""A host whose subscriptions are read too slowly: health is judged all the same, nobody loses an app, and an alert says why."""

import pytest

from shared.domain.errors import TransientError
from tests.simulation.test_guards import have_active_users

MINUTES = 60.0
SLOW = """
create schema private;
create function private.seats() returns table (user_id uuid, tier text, status text, ends_at timestamptz)
language plpgsql stable as $$
begin
  if exists (select 1 from private.trouble) then
    raise exception 'canceling statement due to statement timeout' using errcode = 'query_canceled';
  end if;
  return query select s.user_id, s.tier, s.status, s.expires_at from public.user_subscriptions s;
end
$$;
create table private.trouble (is_slow boolean);
select hangar.bind_function('private.seats()');
"""


@pytest.fixture
def users(world):
    world.host.execute(SLOW)
    return have_active_users(world, 2)


def sweep_slowly(world):
    """A sweep five minutes later, which ends in the host's time-out."""
    world.clock.advance(5 * MINUTES)
    with pytest.raises(TransientError) as caught:
        world.sweep()
    assert caught.value.code == "57014"


def test_a_slow_host_is_told_and_health_is_judged(world, users):
    """A machine crashes meanwhile: the sweep sees it, and repairs it when the host can be read again."""
    world.sql("insert into private.trouble values (true)")
    machine_id = world.row(users[0])["machine_id"]
    world.control("POST", f"machines/{machine_id}/crash", {})
    sweep_slowly(world)
    assert world.open_alerts() == {("host_binding", "fleet")}
    [(message,)] = world.sql("select message from hangar.alerts where kind = 'host_binding'")
    assert "statement timeout" in message
    assert world.row(users[0])["machine_state"] == "stopped"
    assert world.row(users[1])["health_status"] == "healthy"
    sweep_slowly(world)
    world.sql("delete from private.trouble")
    world.settle()
    assert world.open_alerts() == set()
    assert [world.row(user)["status"] for user in users] == ["active", "active"]
    assert [machine.state for user in users for machine in world.apps()[world.row(user)["fly_app_name"]]] == [
        "started"
    ] * 2


FAILING = """
create or replace function private.seats() returns table (user_id uuid, tier text, status text, ends_at timestamptz)
language plpgsql as $$begin raise exception 'the library is gone' using errcode = '{code}'; end$$"""


@pytest.mark.parametrize("code", ["58P01", "53300", "40001", "57P01"])
def test_a_function_that_fails_like_a_server_is_told_and_health_is_judged(world, users, code):
    """The database works, and only the host's function fails: the first sweep tells it and repairs a machine that has crashed."""
    world.host.execute(FAILING.format(code=code))
    machine_id = world.row(users[0])["machine_id"]
    world.control("POST", f"machines/{machine_id}/crash", {})
    for _ in range(2):
        world.clock.advance(5 * MINUTES)
        world.sweep()
        assert world.open_alerts() == {("host_binding", "subscriptions")}
    [(message,)] = world.sql("select message from hangar.alerts where kind = 'host_binding'")
    assert "the library is gone" in message
    assert [world.row(user)["machine_state"] for user in users] == ["started", "started"]
    assert [world.row(user)["desired_state"] for user in users] == ["present", "present"]
    world.host.execute("drop schema private cascade;" + SLOW)
    world.settle()
    assert world.open_alerts() == set()


def test_a_server_that_ends_the_session_ends_the_sweep(world, users):
    """While the host is read, as at a shutdown. That is no fault of the host's tables: no alert names them, and no app goes."""
    world.host.execute(
        "create or replace function private.seats() returns table (user_id uuid, tier text, status text, ends_at timestamptz)"
        " language plpgsql security definer as $$begin perform pg_terminate_backend(pg_backend_pid()); end$$"
    )
    world.clock.advance(5 * MINUTES)
    with pytest.raises(TransientError) as caught:
        world.sweep()
    assert (caught.value.code, world.open_alerts()) == ("57P01", set())
    assert [world.row(user)["desired_state"] for user in users] == ["present", "present"]
