"""Tokens of machines: renewed by a trickle before they end, and replaced at once when revoked."""

from datetime import datetime

import pytest

from local.fly.transport import open_client
from shared.domain.credentials import TOKEN_TTL
from tests.support.boundaries import Killed
from tests.support.releases import ACTOR, NEW, operate, pass_minutes, read_release, start_release
from tests.support.worker import ORG

DAY = 86_400
HOUR = 3600


def pass_hours(world, hours):
    """The schedule, with one drain in ten minutes, because only the time counts here."""
    for turn in range(hours * 6):
        world.clock.advance(600)
        world.sweep(drain_only=turn % 6 != 5)


def tokens(world):
    """The token that each app's machine was given, by Fly's own state: the moment of its issue."""
    return {name: datetime.fromisoformat(machine.secrets["TOKEN"]) for name, (machine,) in world.apps().items()}


def token_of(world, user):
    return tokens(world)[world.row(user)["fly_app_name"]]


def now_of(world):
    return world.sql("select hangar.now()")[0][0]


def days_left(world, user):
    return (token_of(world, user) + TOKEN_TTL - now_of(world)).total_seconds() / DAY


@pytest.fixture
def fleet(world):
    """Six healthy users, whose tokens have 11 days left."""
    users = world.add_users(["pro"] * 6)
    world.sweep()
    world.clock.advance(300)
    world.sweep()
    world.clock.advance(19 * DAY)
    world.sweep()
    world.users = users
    return world


@pytest.mark.slow
def test_each_token_is_renewed_before_its_end_one_app_an_hour(fleet):
    before = tokens(fleet)
    digests = {name: machine.image_digest for name, (machine,) in fleet.apps().items()}
    instances = {name: machine.version for name, (machine,) in fleet.apps().items()}
    pass_hours(fleet, 20)
    assert tokens(fleet) == before  # ten days before the end, and not earlier
    fleet.clock.advance(4 * HOUR)
    renewed = 0
    for _ in range(8):
        pass_hours(fleet, 1)
        now = sum(token != before[name] for name, token in tokens(fleet).items())
        assert now - renewed <= 1  # 2 % of six apps is none, and at least one moves
        renewed = now
    assert renewed == 6
    assert all(days_left(fleet, user) > 28 for user in fleet.users)
    assert {name: machine.image_digest for name, (machine,) in fleet.apps().items()} == digests
    done = {name: machine.version for name, (machine,) in fleet.apps().items()}
    assert all(done[name] != instances[name] for name in done)
    pass_hours(fleet, 24)
    assert {name: machine.version for name, (machine,) in fleet.apps().items()} == done  # it ends when all are renewed
    assert not {kind for kind, _ in fleet.open_alerts()} & {"token_lapses", "renewal_failed"}


def test_a_renewal_keeps_the_image_although_its_tag_has_moved(world):
    world.sql("update hangar.settings set default_image = 'registry.example/app:v1'")
    world.add_users(["pro"] * 2)
    world.sweep()
    world.clock.advance(300)
    world.sweep()
    before, digests = tokens(world), {name: machine.image_digest for name, (machine,) in world.apps().items()}
    world.control("PUT", "images", {"registry.example/app:v1": "sha256:" + "7" * 64})
    world.clock.advance(21 * DAY)
    pass_hours(world, 4)
    assert all(token != before[name] for name, token in tokens(world).items())
    assert {name: machine.image_digest for name, (machine,) in world.apps().items()} == digests


@pytest.mark.slow
def test_an_app_that_is_pinned_or_held_back_is_renewed_too(fleet):
    pinned, held = fleet.users[:2]
    operate(fleet, "fly_set_user_pin", p_user=pinned, p_pin={"image": "registry.fly.io/vyx-app:v1"}, p_actor=ACTOR)
    until = fleet.sql("select (hangar.now() + interval '60 days')::text")[0][0]
    operate(fleet, "fly_set_user_pin", p_user=held, p_pin={"held_back_until": until}, p_actor=ACTOR)
    fleet.clock.advance(2 * DAY)
    pass_hours(fleet, 8)
    assert all(days_left(fleet, user) > 28 for user in (pinned, held))


def test_a_user_who_returns_after_the_token_has_ended_gets_a_new_one(world):
    world.sql("update public.fly_plans set grace_s = %s where tier = 'pro'", 60 * DAY)
    world.sql("update hangar.settings set removal_hold_s = 0")
    world.allow_mass_losses()
    user = world.add_user("pro")
    world.sweep()
    world.set_tier(user, "free")
    world.sweep()
    world.clock.advance(40 * DAY)
    world.sweep()
    assert days_left(world, user) < 0  # stopped for the grace, with the old token
    world.set_tier(user, "pro")
    world.sweep()
    assert days_left(world, user) > 29
    assert world.row(user)["status"] == "active"


@pytest.mark.slow
def test_an_app_that_a_release_moves_waits_and_the_others_do_not(fleet):
    fleet.clock.advance(2 * DAY)
    release = start_release(fleet, image=NEW, users=[str(fleet.users[0])], soak_s=7200)
    pass_minutes(fleet, 3)
    (target,) = read_release(fleet, release)["targets"]
    assert target["state"] == "verifying"
    fleet.sql(
        "update public.user_fly_apps set token_running_until = hangar.now() + interval '4 days' where user_id = %s",
        fleet.users[0],
    )
    generation = fleet.row(fleet.users[0])["generation"]
    pass_minutes(fleet, 50)
    assert fleet.row(fleet.users[0])["generation"] == generation
    assert sum(fleet.row(user)["token_renewal_at"] is not None for user in fleet.users) == 1


def test_an_update_for_another_reason_renews_a_token_that_is_due(fleet):
    user = fleet.users[0]
    fleet.sql("update hangar.settings set token_renewal_share = 0")  # no renewal of its own
    fleet.clock.advance(2 * DAY)
    fleet.sweep()
    assert days_left(fleet, user) < 10
    operate(fleet, "fly_set_user_pin", p_user=user, p_pin={"env": {"LOG_LEVEL": "debug"}}, p_actor=ACTOR)
    fleet.sweep()
    assert days_left(fleet, user) > 29


@pytest.mark.slow
def test_a_token_that_would_lapse_raises_one_alert_which_says_what_holds_the_renewal(fleet):
    fleet.sql("update hangar.settings set paused = true")
    fleet.clock.advance(7.9 * DAY)
    fleet.sweep()
    assert ("token_lapses", "fleet") not in fleet.open_alerts()
    fleet.clock.advance(0.3 * DAY)
    fleet.sweep()
    (alert,) = fleet.sql("select message from hangar.alerts where kind = 'token_lapses' and resolved_at is null")
    assert "6 app(s) end within 3 days; 0 of them have ended" in alert[0]
    assert "because it is paused" in alert[0]
    fleet.sql("update hangar.settings set paused = false")
    pass_hours(fleet, 8)
    assert ("token_lapses", "fleet") not in fleet.open_alerts()


@pytest.mark.slow
def test_a_new_key_renews_every_token_by_the_trickle(fleet):
    before = tokens(fleet)
    fleet.clock.advance(10)
    answer = operate(fleet, "fly_renew_tokens", p_actor=ACTOR, p_reason="new signing key")
    assert answer["older_than_renew_from"] == 6
    pass_hours(fleet, 8)
    assert all(token > before[name] for name, token in tokens(fleet).items())
    assert operate(fleet, "fly_credentials")["older_than_renew_from"] == 0
    done = tokens(fleet)
    pass_hours(fleet, 3)
    assert tokens(fleet) == done


def test_renewals_stop_when_apps_with_new_tokens_become_unhealthy(fleet):
    fleet.clock.advance(2 * DAY)
    for _ in range(5):
        pass_hours(fleet, 1)
        fleet.sql("update public.user_fly_apps set health_status = 'unhealthy' where token_renewal_at is not null")
    assert sum(fleet.row(user)["token_renewal_at"] is not None for user in fleet.users) < 6
    fleet.sql("update public.user_fly_apps set health_status = 'unhealthy' where token_renewal_at is not null")
    fleet.sql("select hangar.check_tokens()")
    assert ("renewal_failed", "fleet") in fleet.open_alerts()


def test_a_revoked_user_gets_a_new_token_as_soon_as_fly_reaches_the_machine_again(fleet):
    """The change waits: an app whose host is out of reach does not count as changed. Seed 20280846."""
    user = fleet.users[1]
    [machine] = fleet.apps()[fleet.row(user)["fly_app_name"]]
    fleet.control("PUT", f"machines/{machine.id}", {"host_status": "unreachable"})
    answer = operate(fleet, "fly_revoke_user", p_user=user, p_actor=ACTOR, p_reason="leaked")
    pass_minutes(fleet, 10)
    row = fleet.row(user)
    assert (row["status"], row["observed_generation"]) == ("active", row["generation"] - 1)
    fleet.control("PUT", f"machines/{machine.id}", {"host_status": "ok"})
    pass_minutes(fleet, 2)
    assert token_of(fleet, user).timestamp() > datetime.fromisoformat(answer["revoked_at"]).timestamp()


def test_a_revoked_user_gets_a_new_token_that_is_issued_later_than_the_revocation(fleet):
    user, other = fleet.users[:2]
    before = tokens(fleet)
    answer = operate(fleet, "fly_revoke_user", p_user=user, p_actor=ACTOR, p_reason="leaked")
    pass_minutes(fleet, 1)
    assert token_of(fleet, user).timestamp() > datetime.fromisoformat(answer["revoked_at"]).timestamp()
    assert token_of(fleet, other) == before[fleet.row(other)["fly_app_name"]]
    assert fleet.row(user)["status"] == "active"


@pytest.mark.parametrize("when", ["before the user pays", "before the first token", "during the grace"])
def test_a_revocation_counts_for_tokens_that_are_issued_later(world, when):
    """A token of the very second is refused, and one from before would come back with the user. Nothing else would replace it."""
    world.sql("update public.fly_plans set grace_s = 86400")
    user = world.add_user("free" if when == "before the user pays" else "pro")
    if when == "during the grace":
        world.settle()
        world.set_tier(user, "free")
        world.settle()
        world.clock.advance(60)
    answer = operate(world, "fly_revoke_user", p_user=user, p_actor=ACTOR)
    if when != "before the first token":
        world.set_tier(user, "pro")
    world.reconciler.reconcile(user, 240)  # in the same second
    world.settle()
    revoked = datetime.fromisoformat(answer["revoked_at"])
    assert int(token_of(world, user).timestamp()) > int(revoked.timestamp())
    assert world.row(user)["status"] == "active"


def test_who_renews_within_the_hold_returns_with_a_new_token_after_a_revocation(world):
    """Otherwise a renewal within the hold needs no call to Fly, and the machine would keep the refused token. Seed 20271016."""
    world.sql("update hangar.settings set removal_hold_s = 86400")
    world.allow_mass_losses()
    user = world.add_user("pro")
    world.settle()
    world.set_tier(user, "free")
    world.settle()
    assert world.row(user)["hold_until"]
    answer = operate(world, "fly_revoke_user", p_user=user, p_actor=ACTOR)
    world.set_tier(user, "pro")
    world.settle()
    assert token_of(world, user) > datetime.fromisoformat(answer["revoked_at"])


def test_secrets_that_fly_does_not_have_any_more_are_set_again(world):
    """The app was deleted and made again, empty, between two looks. Seed 20271223: the create was refused for ever."""
    user = world.add_user("pro")
    world.settle()
    before = world.row(user)
    name = before["fly_app_name"]
    with open_client(world.sim) as fly:
        fly.request("DELETE", f"/v1/apps/{name}?force=true").raise_for_status()
        world.clock.advance(120)
        again = {"app_name": name, "org_slug": ORG, "network": before["network"]}
        fly.request("POST", "/v1/apps", json=again).raise_for_status()
    world.clock.advance(600)
    world.settle(2)
    row = world.row(user)
    assert (row["status"], row["machine_id"] != before["machine_id"]) == ("active", True)
    assert token_of(world, user) > datetime.fromisoformat(before["token_issued_at"])


def test_a_user_revoked_in_the_second_of_issue_gets_a_later_second(world):
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    for _ in range(3):
        answer = operate(world, "fly_revoke_user", p_user=user, p_actor=ACTOR)
        world.reconciler.reconcile(user, 240)
        revoked = datetime.fromisoformat(answer["revoked_at"])
        assert int(token_of(world, user).timestamp()) > int(revoked.timestamp())


@pytest.mark.parametrize("loses", [("POST", "/v1/apps/*/secrets"), ("POST", "/v1/apps/*/machines/*")])
def test_a_worker_that_dies_after_fly_has_answered_leaves_nothing_half_done(world, loses):
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    before = token_of(world, user)
    world.clock.advance(60)
    operate(world, "fly_revoke_user", p_user=user, p_actor=ACTOR)
    world.boundaries.die_after = loses
    with pytest.raises(Killed):
        world.reconciler.reconcile(user, 240)
    world.reconciler = world.new_worker()
    world.settle()
    assert token_of(world, user) > before
    ((machine,),) = world.apps().values()
    assert machine.config["metadata"]["hangar_secrets"] == str(world.row(user)["secrets_version"])
    assert (world.row(user)["status"], world.open_alerts()) == ("active", set())


@pytest.mark.parametrize(
    "fault", [{"status": 429, "headers": {"Retry-After": "5"}}, {"status": 503}, {"status": 500, "when": "after"}]
)
def test_fly_that_refuses_or_loses_the_answer_delays_the_new_token_only(world, fault):
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    before = token_of(world, user)
    operate(world, "fly_revoke_user", p_user=user, p_actor=ACTOR)
    world.control("PUT", "faults", [{"method": "POST", "path": "/v1/apps/*/secrets", "times": 6, **fault}])
    world.clock.advance(60)
    world.sweep()
    world.settle()
    assert token_of(world, user) > before
    assert (world.row(user)["status"], world.open_alerts()) == ("active", set())


def test_a_failed_pull_that_brings_the_old_secrets_back_is_seen(world):
    """After a failed pull Fly goes back to the former version, with its secrets and green checks."""
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    row = world.row(user)
    operate(world, "fly_revoke_user", p_user=user, p_actor=ACTOR)
    world.reconciler.reconcile(user, 240)
    assert world.row(user)["token_running_until"] == world.row(user)["token_expires_at"]
    ((machine,),) = world.apps().values()
    machine.config["metadata"]["hangar_secrets"] = str(row["secrets_version"])
    world.settle()
    assert machine.config["metadata"]["hangar_secrets"] == str(world.row(user)["secrets_version"])


def test_an_idle_fleet_pays_one_look(fleet):
    """Without a token that is due, nothing is locked and no row changes."""
    generations = [fleet.row(user)["generation"] for user in fleet.users]
    assert fleet.sql("select hangar.renew_tokens()") == [(0,)]
    assert [fleet.row(user)["generation"] for user in fleet.users] == generations
