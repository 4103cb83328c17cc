"""Secrets of single users: from the operator to Fly, to the machine by an update, and named when Fly has lost them."""

from dataclasses import replace
from uuid import uuid4

import pytest

from local.fly.transport import open_client
from ops.user_secrets import SecretChange, change_user_secret
from shared.domain.errors import Conflict, HangarError, OutcomeUnknown, Refused
from tests.support.boundaries import Killed
from tests.support.releases import ACTOR, NEW, finish, operate, pass_minutes, start_release

VALUE = "canary-value-of-a-secret"
DAY = 86_400


class Procedures:
    """The two procedures around an operator's call, in the world's database. `loses_record`: the second one fails."""

    def __init__(self, world, *, loses_record=False):
        self.world, self.loses_record = world, loses_record

    def begin_user_secret(self, user_id, name, action, request, *, actor, reason):
        return operate(
            self.world,
            "fly_begin_user_secret",
            p_user=user_id,
            p_name=name,
            p_action=action,
            p_request=request,
            p_actor=actor,
            p_reason=reason,
        )

    def record_user_secret(self, user_id, name, request, *, version, digest):
        if self.loses_record:
            raise Killed("record")
        return operate(
            self.world,
            "fly_record_user_secret",
            p_user=user_id,
            p_name=name,
            p_request=request,
            p_version=version,
            p_digest=digest,
        )


def change(world, user, value=VALUE, name="API_KEY", **options):
    wanted = SecretChange(user, name, value, uuid4(), ACTOR, "their account")
    return change_user_secret(Procedures(world, **options), world.reconciler.fly, wanted)


def states(world, user):
    return {each["name"]: each["state"] for each in operate(world, "fly_user_status", p_user=user)["secrets"]}


def machine_of(world, user):
    (machine,) = world.apps()[world.row(user)["fly_app_name"]]
    return machine


@pytest.fixture
def paying(world):
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    return user


def test_a_secret_reaches_the_machine_and_is_stored_nowhere(world, paying):
    digest = machine_of(world, paying).image_digest
    done = change(world, paying)
    assert states(world, paying) == {"API_KEY": "deploying"}
    world.sweep()
    machine = machine_of(world, paying)
    assert (machine.secrets["API_KEY"], machine.image_digest) == (VALUE, digest)
    assert "TOKEN" in machine.secrets
    assert states(world, paying) == {"API_KEY": "deployed"}
    app = world.sim.apps[world.row(paying)["fly_app_name"]]
    assert done["digest"] == app.secrets["API_KEY"].digest
    for table in ("hangar.user_secrets", "public.user_fly_app_events", "public.user_fly_apps", "hangar.alerts"):
        assert VALUE not in str(world.sql(f"select to_jsonb(t) from {table} t"))
    change(world, paying, None)
    world.sweep()
    assert "API_KEY" not in machine_of(world, paying).secrets
    assert states(world, paying) == {}


def test_a_release_and_a_renewal_keep_it(world, paying):
    change(world, paying)
    world.sweep()
    world.clock.advance(300)
    world.sweep()
    release = start_release(world, image=NEW)
    assert finish(world, release)["state"] == "completed"
    assert machine_of(world, paying).secrets["API_KEY"] == VALUE
    world.clock.advance(21 * DAY)
    pass_minutes(world, 10)
    assert machine_of(world, paying).secrets["API_KEY"] == VALUE


def test_an_app_that_is_made_again_names_what_it_lacks(world, paying):
    change(world, paying)
    world.sweep()
    with open_client(world.sim, sleep=world.clock.advance) as fly:
        path = f"/v1/apps/{world.row(paying)['fly_app_name']}"
        fly.delete(path, params={"force": "true"}, headers={"Authorization": "Bearer any"}).raise_for_status()
    world.settle()
    assert states(world, paying) == {"API_KEY": "missing"}
    assert ("user_secrets_missing", "fleet") in world.open_alerts()
    (message,) = world.sql("select message from hangar.alerts where kind = 'user_secrets_missing'")[0]
    assert "API_KEY" in message
    assert "hangar user secret USER set NAME" in message
    change(world, paying)
    world.settle()
    assert machine_of(world, paying).secrets["API_KEY"] == VALUE
    assert ("user_secrets_missing", "fleet") not in world.open_alerts()


def test_a_user_who_comes_back_with_another_app_lacks_it_and_may_forget_it(world, paying):
    world.allow_mass_losses()
    change(world, paying)
    world.sweep()
    world.set_tier(paying, "free")
    world.settle()
    assert world.apps() == {}
    world.set_tier(paying, "pro")
    world.settle()
    assert states(world, paying) == {"API_KEY": "missing"}
    before = world.row(paying)["generation"]
    assert change(world, paying, None)["version"] is None
    assert (states(world, paying), world.row(paying)["generation"]) == ({}, before)
    world.sweep()
    assert ("user_secrets_missing", "fleet") not in world.open_alerts()


def test_a_terminal_that_dies_before_it_records_leaves_it_unconfirmed(world, paying):
    with pytest.raises(Killed):
        change(world, paying, loses_record=True)
    assert states(world, paying) == {"API_KEY": "unconfirmed"}
    world.clock.advance(700)
    world.sweep()
    assert ("user_secrets_missing", "fleet") in world.open_alerts()
    change(world, paying)
    world.settle()
    assert states(world, paying) == {"API_KEY": "deployed"}
    assert world.open_alerts() == set()


def test_what_fly_refuses_changes_nothing_and_what_it_may_have_done_is_unconfirmed(world, paying):
    generation = world.row(paying)["generation"]
    path = {"method": "POST", "path": "/v1/apps/*/secrets"}
    world.control("PUT", "faults", [{**path, "status": 422, "body": {"error": f"no {VALUE}"}}])
    with pytest.raises(HangarError) as refused:
        change(world, paying)
    assert VALUE not in str(refused.value)
    assert (states(world, paying), world.row(paying)["generation"]) == ({}, generation)
    world.control("PUT", "faults", [{**path, "status": 500, "when": "after"}])
    with pytest.raises(OutcomeUnknown):
        change(world, paying)
    assert states(world, paying) == {"API_KEY": "unconfirmed"}
    world.control("PUT", "faults", [])
    change(world, paying)
    world.settle()
    assert machine_of(world, paying).secrets["API_KEY"] == VALUE


REFUSED = {"method": "POST", "path": "/v1/apps/*/secrets", "status": 422, "body": {"error": "no"}}
LOST = {"method": "POST", "path": "/v1/apps/*/secrets", "status": 500, "when": "after"}


@pytest.mark.parametrize("before", [None, "former"], ids=["a first value", "another value"])
@pytest.mark.parametrize("value", [VALUE, None], ids=["set", "remove"])
def test_a_refusal_after_a_lost_answer_leaves_it_unconfirmed(world, paying, before, value):
    """Fly did the first call and refused the second: what it has is not what it had before the first."""
    if before:
        change(world, paying, before)
        world.settle()
    elif value is None:
        change(world, paying)
    for fault, error in ((LOST, OutcomeUnknown), (REFUSED, Refused), (REFUSED, Refused)):
        world.control("PUT", "faults", [fault])
        with pytest.raises(error):
            change(world, paying, value)
        assert states(world, paying) == {"API_KEY": "unconfirmed"}
    world.control("PUT", "faults", [])
    world.clock.advance(700)
    world.sweep()
    assert ("user_secrets_missing", "fleet") in world.open_alerts()
    change(world, paying, None)
    world.settle()
    assert (states(world, paying), world.open_alerts()) == ({}, set())
    assert "API_KEY" not in machine_of(world, paying).secrets
    world.control("PUT", "faults", [REFUSED])
    with pytest.raises(Refused):
        change(world, paying)
    assert states(world, paying) == {}


def with_fleet_secret(world):
    """Every app gets the secret FEED, except where an operator has set another one, as `shared.wiring` does it."""
    secrets = world.reconciler.inputs.secrets

    def more(row, issued_at):
        return {**secrets(row, issued_at), **({} if "FEED" in row.own_secrets else {"FEED": "the fleet's"})}

    world.reconciler = replace(world.reconciler, inputs=replace(world.reconciler.inputs, secrets=more))


@pytest.mark.parametrize("leaves", [False, True])
def test_the_fleets_secret_comes_back_when_the_users_own_is_removed(world, leaves):
    """Removing it at Fly removes both, because they have one name. Also if the user is away for a moment meanwhile."""
    world.allow_mass_losses()
    world.sql("update public.fly_plans set grace_s = 86400")
    with_fleet_secret(world)
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    assert machine_of(world, user).secrets["FEED"] == "the fleet's"
    change(world, user, name="FEED")
    world.settle()
    assert machine_of(world, user).secrets["FEED"] == VALUE
    procedures, record = Procedures(world), Procedures.record_user_secret
    if leaves:

        def leave_and_record(*arguments, **more):
            world.set_tier(user, "free")
            world.settle()
            return record(procedures, *arguments, **more)

        procedures.record_user_secret = leave_and_record
    change_user_secret(procedures, world.reconciler.fly, SecretChange(user, "FEED", None, uuid4(), ACTOR, None))
    if leaves:
        world.set_tier(user, "pro")
    world.settle()
    assert machine_of(world, user).secrets["FEED"] == "the fleet's"
    assert states(world, user) == {}


@pytest.mark.parametrize("loses", [("POST", "/v1/apps/*/machines/*")])
def test_a_worker_that_dies_between_secret_and_update_leaves_it_to_the_next(world, paying, loses):
    change(world, paying)
    world.boundaries.die_after = loses
    with pytest.raises(Killed):
        world.reconciler.reconcile(paying, 240)
    world.reconciler = world.new_worker()
    world.settle()
    assert machine_of(world, paying).secrets["API_KEY"] == VALUE
    assert states(world, paying) == {"API_KEY": "deployed"}


@pytest.mark.parametrize("name", ["SUPABASE_USER_TOKEN", "user_id", "FLY_APP_NAME", "HANGAR_X", "1A", "", "A B"])
def test_names_that_belong_to_others_are_refused(world, paying, name):
    with pytest.raises(Exception, match="name") as refused:
        change(world, paying, name=name)
    assert not isinstance(refused.value, Conflict | Refused)
    assert states(world, paying) == {}


def test_nothing_is_sent_while_hangar_is_paused_or_without_an_app(world, paying):
    world.sql("update hangar.settings set paused = true")
    with pytest.raises(Exception, match="paused"):
        change(world, paying)
    world.sql("update hangar.settings set paused = false")
    nobody = world.add_user("free")
    with pytest.raises(Exception, match="no app"):
        change(world, nobody)
