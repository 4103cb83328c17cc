"""`hangar retry USER --new-name` against a whole local cloud: an app that another organisation's has replaced."""

import pytest

from shared.domain.naming import app_name
from tests.http.running_operator import open_operator
from tests.support.loopback import LOOPBACK


@pytest.fixture
def operator(cloud, tmp_path):
    with open_operator(cloud, tmp_path) as operator:
        yield operator


@pytest.fixture
def users(operator):
    users = operator.add_users(3)
    operator.hangar("migrate-users", "--apply")
    return users


def take(operator, user):
    """Another organisation has this user's app name. Returns the name."""
    [[app]] = operator.sql(
        "select fly_app_name from public.user_fly_apps where user_id = %s and deleted_at is null", user
    )
    LOOPBACK.post(f"{operator.fly_url}/_sim/apps/{app}/take", json=None).raise_for_status()
    return app


def names(operator, user):
    query = "select fly_app_name, status from public.user_fly_apps where user_id = %s order by created_at"
    return operator.sql(query, user)


@pytest.mark.slow
def test_a_paying_user_gets_the_next_name(operator, users):
    user = users[0]
    app = take(operator, user)
    _, err = operator.hangar("retry", str(user), exits=1)
    assert f"hangar retry {user} --new-name" in err
    assert names(operator, user) == [(app, "error")]
    assert f"hangar retry {user} --new-name" in operator.hangar("explain", str(user))[0]
    out, _ = operator.hangar("retry", str(user), "--new-name", "--reason", "deleted by hand")
    new = app_name("vyx-user", user, 1)
    assert f"the name {app} is given up; the new app is {new} (active)" in out
    assert names(operator, user) == [(app, "deleted"), (new, "active")]
    asked = "select metadata ->> 'reason' from user_fly_app_events where metadata ->> 'source' = 'new_name' and user_id = %s"
    assert operator.sql(asked, user) == [("deleted by hand",)]


@pytest.mark.slow
def test_a_denied_user_is_left_with_nothing(operator, users):
    user = users[0]
    app = take(operator, user)
    operator.hangar("deny", str(user), "--reason", "fraud", "--yes")
    done = operator.json("retry", str(user), "--new-name", "--reason", "deleted by hand")
    assert (done["old_name"], done["app_name"], done["status"]) == (app, None, "deleted")
    assert names(operator, user) == [(app, "deleted")]
    _, err = operator.hangar("retry", str(user), "--new-name", "--reason", "again", exits=3)
    assert "has no app whose name could be given up" in err


def test_without_proof_the_command_says_what_was_seen(operator, users):
    """A token that may not list the organisation, and an app that is there."""
    user = users[0]
    _, err = operator.hangar("retry", str(user), "--new-name", "--reason", "a mistake", exits=1)
    assert "is ours, so it keeps its name" in err
    app = take(operator, user)
    operator.set_faults({"method": "GET", "path": "/v1/apps", "status": 403, "body": {"error": "unauthorized"}})
    _, err = operator.hangar("retry", str(user), "--new-name", "--reason", "deleted by hand", exits=1)
    assert "does not let FLY_API_TOKEN list the organisation" in err
    assert f"hangar retry {user} --new-name" in err
    operator.set_faults()
    assert names(operator, user) == [(app, "error")]


def test_bad_input(operator, users):
    """A reason is needed, one user is named, and nothing is decided during a pause or for an app that never was."""
    user = str(users[0])
    operator.hangar("retry", user, "--new-name", exits=2)
    operator.hangar("retry", user, "--new-name", "--reason", " ", exits=2)
    operator.hangar("retry", "--new-name", "--reason", "x", exits=2)
    operator.hangar("retry", "--cause", "not_owned", "--new-name", "--reason", "x", exits=2)
    operator.hangar("retry", user, "--cause", "not_owned", "--new-name", "--reason", "x", exits=2)
    operator.hangar("retry", "nobody@example.test", "--new-name", "--reason", "x", exits=2)
    operator.hangar("pause", "--reason", "test")
    operator.hangar("retry", user, "--new-name", "--reason", "x", exits=3)
    operator.hangar("resume")
    asked = "select count(*) from user_fly_app_events where metadata ->> 'source' = 'new_name' and user_id = %s"
    assert operator.sql(asked, user) == [(0,)]
