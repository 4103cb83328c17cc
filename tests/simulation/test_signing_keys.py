"""The key that signs tokens is replaced: with two keys in overlap, or in the wrong order, the former one revoked first."""

import json
from dataclasses import replace
from uuid import UUID

import pytest

from shared.adapters.signing_keys import SigningKeys
from shared.domain.errors import TransientError
from shared.domain.remediation import format_next_step
from tests.simulation.test_user_secrets import change as change_secret
from tests.support.releases import ACTOR, operate

MINUTE, HOUR = 60, 3600
USERS = 14


class Project:
    """A Supabase project: what it publishes decides which machines can read, and so which checks pass."""

    def __init__(self, world):
        self.world, self.signing, self.published, self.fails = world, "old", ("old",), False
        self.deploy("old")

    def deploy(self, signing):
        """Functions that sign with this key."""
        self.signing, worker = signing, self.world.reconciler
        worker.read_signing_keys = self.read
        worker.inputs = replace(
            worker.inputs,
            secrets=lambda _, at: {"TOKEN": at.isoformat(), "KEY": signing},
            signing_key_id=lambda: signing,
        )

    def read(self):
        if self.fails:
            raise TransientError("no answer")
        return SigningKeys(self.signing, self.published)

    def keys_in_use(self):
        return {name: machine.secrets["KEY"] for name, (machine,) in self.world.apps().items()}

    def pass_time(self, seconds, sweeps=1):
        for _ in range(sweeps):
            self.world.clock.advance(seconds)
            for (machine,) in self.world.apps().values():
                status = "passing" if machine.secrets["KEY"] in self.published else "critical"
                self.world.control("PUT", f"machines/{machine.id}", {"checks": {"alive": status, "ready": status}})
            self.world.sweep()

    def restarts(self):
        return {name: machine.version for name, (machine,) in self.world.apps().items()}


@pytest.fixture
def project(world):
    found = Project(world)
    world.sql("update public.fly_plans set on_unhealthy = 'replace'")
    world.add_users(["pro"] * USERS)
    world.sweep()
    found.pass_time(5 * MINUTE)
    return found


def alert(world, kind="signing_key"):
    found = world.sql("select message, metadata from hangar.alerts where kind = %s and resolved_at is null", kind)
    return found[0] if found else None


def count_changes(world):
    """How often a machine was changed or restarted, by the log."""
    query = (
        "select count(*) from public.user_fly_app_events where event_type = 'action' and status = 'succeeded'"
        " and metadata ->> 'action' in ('update_machine', 'restart_machine', 'destroy_machine')"
    )
    return world.sql(query)[0][0]


def health_of(world):
    return {
        health for (health,) in world.sql("select health_status from public.user_fly_apps where deleted_at is null")
    }


@pytest.mark.slow
def test_with_two_keys_in_overlap_nobody_is_unhealthy_and_each_machine_restarts_once(world, project):
    project.published = ("old", "new")
    project.deploy("new")
    world.clock.advance(1)
    operate(world, "fly_renew_tokens", p_actor=ACTOR, p_reason="new signing key")
    before = project.restarts()
    for hour in range(1, USERS + 2):
        project.pass_time(10 * MINUTE, 6)
        moved = sum(key == "new" for key in project.keys_in_use().values())
        assert moved <= hour + 1  # 2 % of fourteen apps is none, and at least one an hour
        assert health_of(world) == {"healthy"}
    project.published = ("new",)
    project.pass_time(10 * MINUTE, 12)
    assert set(project.keys_in_use().values()) == {"new"}
    # One update for each machine: the secret needs it, and nothing else happens.
    assert {name: project.restarts()[name] != before[name] for name in before} == dict.fromkeys(before, True)
    assert count_changes(world) == USERS
    assert not {kind for kind, _ in world.open_alerts()} & {"signing_key", "renewal_failed", "incident"}


@pytest.mark.slow
def test_a_key_that_is_revoked_first_is_named_and_no_health_repair_makes_it_worse(world, project):
    machines = {name: machine.id for name, (machine,) in world.apps().items()}
    before = project.restarts()
    project.published = ("other",)
    project.pass_time(5 * MINUTE)
    message, facts = alert(world)
    assert facts == {"signing": "old", "published": False, "refused_apps": USERS}
    assert f"the tokens of {USERS} app(s)" in message
    assert "signs tokens with the key old, which the project does not publish" in message
    project.pass_time(10 * MINUTE, 12)
    assert health_of(world) == {"unhealthy"}
    # Neither a restart nor a new machine would help, and a new token would be refused too.
    assert project.restarts() == before
    assert {name: machine.id for name, (machine,) in world.apps().items()} == machines
    credentials = operate(world, "fly_credentials")
    assert (credentials["held_by"], credentials["refused"]) == ("signing_key", USERS)
    [(user,)] = world.sql("select user_id from public.user_fly_apps order by fly_app_name limit 1")
    status = operate(world, "fly_user_status", p_user=user)
    [(now, settings)] = world.sql("select hangar.now(), to_jsonb(s) from hangar.settings s")
    assert "Hangar gives it a new token within minutes, unless something holds that" in format_next_step(
        status, settings, now
    )
    assert "`hangar credentials`" in format_next_step(status, settings, now)
    assert "the alert about the signing key" in format_next_step(status, settings, now, "dashboard")


@pytest.mark.slow
def test_a_few_apps_with_refused_tokens_are_neither_restarted_nor_replaced(world):
    """They are too few for an incident, which would hold every repair."""
    project = Project(world)
    world.sql("update public.fly_plans set on_unhealthy = 'replace'")
    world.add_users(["pro"] * 3)
    world.sweep()
    project.pass_time(5 * MINUTE)
    before = project.restarts()
    project.published = ("other",)
    project.pass_time(10 * MINUTE, 12)
    assert health_of(world) == {"unhealthy"}
    assert project.restarts() == before
    assert ("incident", "health") not in world.open_alerts()


@pytest.mark.slow
def test_with_a_key_that_is_accepted_hangar_repairs_every_app_itself(world, project):
    """Nobody runs a command but the deployment of the new key."""
    before = project.restarts()
    project.published = ("new",)
    project.pass_time(10 * MINUTE, 8)
    assert ("incident", "health") in world.open_alerts()
    project.deploy("new")
    project.pass_time(5 * MINUTE)
    assert "Hangar gives them new tokens of the key new, up to 10 apps in five minutes" in alert(world)[0]
    project.pass_time(1 * MINUTE)
    assert sum(key == "new" for key in project.keys_in_use().values()) == 10
    project.pass_time(5 * MINUTE, 4)
    assert set(project.keys_in_use().values()) == {"new"}
    project.pass_time(5 * MINUTE, 4)
    assert health_of(world) == {"healthy"}
    assert not {kind for kind, _ in world.open_alerts()} & {"signing_key", "renewal_failed", "incident", "unhealthy"}
    done = project.restarts()
    assert all(done[name] != before[name] for name in before)
    assert count_changes(world) == USERS
    project.pass_time(10 * MINUTE, 6)
    assert project.restarts() == done


@pytest.mark.slow
def test_apps_that_stay_unhealthy_with_a_new_token_stop_the_repair(world, project):
    """The token was not what kept them from working, or not all of it."""
    world.sql("update hangar.settings set incident_floor = 2")
    project.published = ("other",)
    project.pass_time(10 * MINUTE, 6)
    project.deploy("other")
    for _ in range(20):
        for (machine,) in world.apps().values():
            world.control("PUT", f"machines/{machine.id}", {"checks": {"alive": "critical", "ready": "critical"}})
        world.clock.advance(5 * MINUTE)
        world.sweep()
    moved = sum(key == "other" for key in project.keys_in_use().values())
    assert 2 <= moved < USERS
    assert alert(world, "renewal_failed")
    assert "Hangar gives them no new tokens now (renewal_failed)" in alert(world)[0]


def test_a_project_that_does_not_answer_changes_nothing(world, project):
    before = project.restarts()
    project.fails = True
    project.pass_time(10 * MINUTE, 6)
    assert (alert(world), project.restarts()) == (None, before)
    assert operate(world, "fly_credentials")["held_by"] is None


def test_a_function_of_another_installation_records_no_key(world, project):
    """Its key signs no token of this fleet, so it must not hold the renewal of those that do."""
    right = world.reconciler.inputs
    project.deploy("foreign")
    world.reconciler.inputs = replace(world.reconciler.inputs, installation_id=UUID(int=1))
    project.pass_time(5 * MINUTE)
    world.reconciler.inputs = right
    assert world.sql("select signing from hangar.signing_keys") == [("old",)]
    foreign = {"p_signing": "foreign", "p_published": '["foreign"]', "p_installation": str(UUID(int=1))}
    assert operate(world, "fly_record_signing_keys", **foreign) == {"published": True, "refused_apps": None}
    assert world.sql("select signing from hangar.signing_keys") == [("old",)]


@pytest.mark.parametrize(
    ("signing", "published"), [("", ["a"]), (None, ["a"]), ("a", None), ("a", ["a", None]), ("a", ["k"] * 101)]
)
def test_a_report_without_keys_is_refused(world, signing, published):
    with pytest.raises(Exception, match=r"p_signing|p_published"):
        operate(
            world,
            "fly_record_signing_keys",
            p_signing=signing,
            p_published=json.dumps(published) if published else None,
        )
    assert world.sql("select count(*) from hangar.signing_keys")[0][0] == 0


def test_removing_a_secret_gives_no_token_that_the_project_refuses(world):
    """The fleet's secret of this name comes back with the next renewal, when the project accepts our tokens again."""
    project = Project(world)
    user = world.add_user("pro")
    world.sweep()
    project.pass_time(5 * MINUTE)
    assert set(project.keys_in_use().values()) == {"old"}
    change_secret(world, user, name="FEED")
    world.settle()
    project.pass_time(5 * MINUTE)
    project.deploy("wrong")  # the project still publishes only "old"
    project.pass_time(5 * MINUTE)
    assert alert(world)[1]["refused_apps"] == 0
    assert operate(world, "fly_credentials")["held_by"] == "signing_key"
    assert world.row(user)["health_status"] == "healthy"
    change_secret(world, user, None, name="FEED")
    world.settle()
    project.pass_time(5 * MINUTE, 3)
    assert set(project.keys_in_use().values()) == {"old"}
    assert world.row(user)["health_status"] == "healthy"
