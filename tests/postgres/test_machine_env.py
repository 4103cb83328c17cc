"""The environment of a plan, a release and a pin: what no machine could have is refused at each door, and nothing changes."""

import json

import pytest
from psycopg import errors

from shared.settings.config import RESERVED_MACHINE_NAMES

ACTOR = "ops@example.test"
REFUSED = {
    '{"LEVEL": 1}': "env must map names like LOG_LEVEL to texts; not so: LEVEL",
    '{"LEVEL": {"a": "b"}}': "env must map names like LOG_LEVEL to texts; not so: LEVEL",
    '{"MY-TOKEN": "s3cr3t"}': "env must map names like LOG_LEVEL to texts; not so: MY-TOKEN",
    '{"": "s3cr3t", "1A": "s3cr3t"}': "env must map names like LOG_LEVEL to texts; not so: , 1A",
    '{"SUPABASE_URL": "s3cr3t"}': "env must not name what Hangar sets itself: SUPABASE_URL",
    '{"LEVEL": 1, "USER_ID": "s3cr3t"}': "env must not name what Hangar sets itself: USER_ID",
    f'{{"LEVEL": "{"x" * 32769}", "MORE": "{"ä" * 16385}"}}': (
        "env values may have at most 32768 bytes, and names at most 255; too long: LEVEL, MORE"
    ),
    f'{{"{"N" * 256}": ""}}': f"env values may have at most 32768 bytes, and names at most 255; too long: {'N' * 60}",
    '["LEVEL"]': "env must be an object of names like LOG_LEVEL and texts",
    '"LEVEL"': "env must be an object of names like LOG_LEVEL and texts",
}


@pytest.fixture
def user(hangar):
    user = hangar.user("pro")
    hangar.converge(user)
    return user


def set_plan(hangar, _user, env):
    hangar.sql("update fly_plans set env = %s where tier = 'pro'", json.dumps(env))


def create_release(hangar, _user, env):
    hangar.rpc("fly_create_release", release={"env": env}, actor=ACTOR, why="test")


def set_pin(hangar, user, env):
    hangar.rpc("fly_set_user_pin", user=user, pin={"env": env}, actor=ACTOR, reason="test")


DOORS = [set_plan, create_release, set_pin]


@pytest.mark.parametrize("set_env", DOORS)
@pytest.mark.parametrize(("env", "reason"), REFUSED.items())
def test_what_no_machine_could_have_is_refused_and_changes_nothing(hangar, user, set_env, env, reason):
    """A number in a plan's env once reached the worker, which then could read no app of that plan."""
    with pytest.raises(errors.InvalidParameterValue) as refused:
        set_env(hangar, user, json.loads(env))
    assert reason in str(refused.value)
    assert "s3cr3t" not in str(refused.value)
    assert hangar.one("select env from fly_plans where tier = 'pro'") == {}
    assert hangar.one("select (select count(*) from hangar.releases) + (select count(*) from hangar.user_pins)") == 0
    assert hangar.row(user)["observed_generation"] == hangar.row(user)["generation"]


@pytest.mark.parametrize("set_env", DOORS)
def test_an_ordinary_environment_is_accepted(hangar, user, set_env):
    set_env(hangar, user, {"LOG_LEVEL": "debug", "_x1": ""})


def test_a_pin_takes_no_null_for_its_whole_environment(hangar, user):
    """Null removes one name; for the whole it once made the stored environment a list."""
    set_pin(hangar, user, {"LOG_LEVEL": "debug", "MODE": "slow"})
    with pytest.raises(errors.InvalidParameterValue, match="env must be an object"):
        set_pin(hangar, user, None)
    set_pin(hangar, user, {"LOG_LEVEL": None})
    assert hangar.one("select env from hangar.user_pins") == {"MODE": "slow"}


def test_both_languages_know_the_same_names_of_hangars_own(hangar):
    assert set(hangar.one("select hangar.own_env_names()")) == RESERVED_MACHINE_NAMES
