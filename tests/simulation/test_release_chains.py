"""Chains of releases that are rolled back in any order end where they began, also for users who join, leave or are pinned."""

import itertools

import pytest

from tests.support.release_chains import (
    FAST,
    NEXT,
    OLD,
    first_users,
    have_two_tiers,
    read_given,
    read_machines,
    read_plans,
    release,
    roll_back,
)
from tests.support.releases import ACTOR, NEW, finish, operate, pass_minutes, start_release

FOURTH = "registry.fly.io/vyx-app:v4"


@pytest.fixture
def fleet(world):
    return have_two_tiers(world)


@pytest.fixture(params=["everybody", "some"])
def selection(request, fleet):
    """A release for everybody, which plans follow, or one for three users."""
    return {} if request.param == "everybody" else {"users": first_users(fleet)}


def image(world, user):
    return world.row(user)["docker_image"].partition("@")[0]


@pytest.mark.slow
def test_middle_then_last_then_first(fleet, selection):
    a = release(fleet, image=NEW, **selection)
    b = release(fleet, image=NEXT, **selection)
    c = release(fleet, image=FOURTH, **selection)
    roll_back(fleet, b)
    roll_back(fleet, c)
    assert {i for i, _, _ in read_machines(fleet)} <= {NEW, OLD}
    roll_back(fleet, a)
    assert {i for i, _, _ in read_machines(fleet)} == {OLD}
    assert read_given(fleet) == []


@pytest.mark.slow
def test_newcomer_between(fleet):
    a = release(fleet, image=NEW)
    (user,) = fleet.add_users(["pro"])
    fleet.settle()
    b = release(fleet, image=NEXT)
    roll_back(fleet, a)
    roll_back(fleet, b)
    assert read_plans(fleet)[0] == OLD
    assert image(fleet, user) == OLD
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0


@pytest.mark.slow
def test_release_of_one_tier_between(fleet):
    a = release(fleet, image=NEW)
    release(fleet, image=NEXT, tiers=["elite"])
    c = release(fleet, image=FOURTH)
    roll_back(fleet, a)
    roll_back(fleet, c)
    assert read_plans(fleet)[0] == OLD


def give_grace(world):
    world.sql("update public.fly_plans set grace_s = 86400")
    world.allow_mass_losses()


@pytest.mark.slow
def test_user_in_grace_with_a_later_release(fleet):
    give_grace(fleet)
    users = first_users(fleet)
    a = release(fleet, image=NEW, users=users)
    release(fleet, cpu_count=2, memory_mb=1536, users=users)
    tier = fleet.row(users[0])["tier"]
    fleet.set_tier(users[0], "free")
    pass_minutes(fleet, 3)
    roll_back(fleet, a)
    fleet.set_tier(users[0], tier)
    pass_minutes(fleet, 5)
    assert image(fleet, users[1]) == OLD
    assert image(fleet, users[0]) == OLD, fleet.sql("select image, memory_mb, release_id from hangar.user_specs")


@pytest.mark.slow
def test_user_in_grace_while_both_go_back(fleet):
    give_grace(fleet)
    users = first_users(fleet)
    a = release(fleet, image=NEW, users=users)
    b = release(fleet, cpu_count=2, memory_mb=1536, users=users)
    roll_back(fleet, a)
    tier = fleet.row(users[0])["tier"]
    fleet.set_tier(users[0], "free")
    pass_minutes(fleet, 3)
    roll_back(fleet, b)
    fleet.set_tier(users[0], tier)
    pass_minutes(fleet, 5)
    assert (fleet.row(users[0])["memory_mb"], fleet.row(users[1])["memory_mb"]) == (1024, 1024)


@pytest.mark.slow
def test_pin_with_a_later_release(fleet):
    users = first_users(fleet)
    a = release(fleet, image=NEW, users=users)
    release(fleet, cpu_count=2, memory_mb=1536, users=users)
    operate(fleet, "fly_set_user_pin", p_user=users[0], p_pin={"image": FOURTH}, p_actor=ACTOR, p_reason="a test")
    pass_minutes(fleet, 3)
    roll_back(fleet, a)
    operate(fleet, "fly_set_user_pin", p_user=users[0], p_pin=None, p_actor=ACTOR)
    pass_minutes(fleet, 3)
    assert image(fleet, users[1]) == OLD
    assert image(fleet, users[0]) == OLD


@pytest.mark.slow
def test_drift_release_then_size_then_rollback_of_drift(fleet):
    users = first_users(fleet)
    release(fleet, image=NEXT, env={"MODE": "1"}, users=users)
    d = release(fleet, kind="plan")
    assert read_given(fleet) == []
    b = release(fleet, cpu_count=2, memory_mb=1536, users=users)
    roll_back(fleet, d)
    assert (NEXT, 1536, "1") in read_machines(fleet)
    assert {(i.partition("@")[0], m) for i, m, _ in read_given(fleet)} == {(NEXT, 1536)}
    roll_back(fleet, b)
    assert (NEXT, 1024, "1") in read_machines(fleet)
    assert {(i.partition("@")[0], m) for i, m, _ in read_given(fleet)} == {(NEXT, None)}


PARTS = [
    {"image": NEW, "env": {"MODE": "1"}},
    {"image": NEXT, "memory_mb": 1536},
    {"memory_mb": 2048, "env": {"MODE": "2"}},
]


@pytest.mark.slow
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_order(fleet, selection, order):
    before = read_machines(fleet), read_plans(fleet)
    numbers = [release(fleet, **part, **selection) for part in PARTS]
    for nr in order:
        roll_back(fleet, numbers[nr])
    assert (read_machines(fleet), read_plans(fleet)) == before
    assert read_given(fleet) == []


@pytest.mark.slow
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_order_with_another_tier_meanwhile(fleet, order):
    before = read_machines(fleet), read_plans(fleet)
    user = first_users(fleet)[0]
    tier = fleet.row(user)["tier"]
    other = "elite" if tier == "pro" else "pro"
    numbers = []
    for part, tiers in zip(PARTS, [other, tier, other], strict=True):
        numbers.append(release(fleet, **part))
        fleet.set_tier(user, tiers)
        pass_minutes(fleet, 5)
    for nr in order:
        roll_back(fleet, numbers[nr])
        fleet.set_tier(user, other if fleet.row(user)["tier"] == tier else tier)
        pass_minutes(fleet, 5)
    assert (read_machines(fleet), read_plans(fleet)) == before
    assert read_given(fleet) == []
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0


@pytest.mark.slow
def test_user_leaves_and_returns_between_two_parts(fleet):
    """A new app between the first and the second."""
    fleet.sql("update public.fly_plans set grace_s = 0")
    fleet.sql("update hangar.settings set removal_hold_s = 0")
    fleet.allow_mass_losses()
    user = first_users(fleet)[0]
    tier = fleet.row(user)["tier"]
    a = release(fleet, image=NEW)
    fleet.set_tier(user, "free")
    fleet.settle(3)
    fleet.set_tier(user, tier)
    fleet.settle(3)
    b = release(fleet, image=NEXT)
    roll_back(fleet, a)
    roll_back(fleet, b)
    assert image(fleet, user) == OLD


@pytest.mark.slow
def test_drift_after_a_rollback_with_later(fleet):
    users = first_users(fleet)
    a = release(fleet, image=NEW, env={"MODE": "1"}, users=users)
    b = release(fleet, memory_mb=1536, users=users)
    roll_back(fleet, a)
    d = release(fleet, kind="plan")
    assert read_machines(fleet) == {(OLD, 1024, None)}
    roll_back(fleet, d)
    assert read_machines(fleet) == {(OLD, 1024, None), (OLD, 1536, None)}
    roll_back(fleet, b)
    assert read_machines(fleet) == {(OLD, 1024, None)}
    assert read_given(fleet) == []


@pytest.mark.slow
def test_edited_and_edited_back(fleet):
    a = start_release(fleet, image=NEW, memory_mb=1536, **FAST)
    fleet.sql("update hangar.settings set default_image = %s", NEXT)
    pass_minutes(fleet, 2)
    fleet.sql("update hangar.settings set default_image = %s", OLD)
    assert finish(fleet, a)["state"] == "completed"
    assert read_plans(fleet)[0] == NEW
    fleet.sql("update public.fly_plans set memory_mb = 2048 where tier = 'pro'")
    fleet.sql("update public.fly_plans set memory_mb = 1536 where tier = 'pro'")
    roll_back(fleet, a)
    assert read_machines(fleet) == {(OLD, 1024, None)}
    assert read_plans(fleet) == (OLD, [(None, 1024, "{}")])
