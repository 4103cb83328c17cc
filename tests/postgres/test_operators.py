"""Operators in the database: who is one now, and the log of every change."""

import uuid

import psycopg
import pytest

pytestmark = pytest.mark.every_postgres


def trail(hangar):
    """The log entries about operators."""
    rows = hangar.sql(
        "select user_id, metadata from public.user_fly_app_events"
        " where event_type = 'settings_changed' and metadata::text like '%%operator_%%' order by seq"
    )
    assert all(row["user_id"] is None for row in rows), "it is nothing of a user's own log"
    return [row["metadata"] for row in rows]


def email_of(hangar, user):
    return hangar.one("select email from auth.users where id = %s", user)


def test_an_operator_is_added_and_removed_with_a_trail(hangar):
    user = hangar.user()
    email = email_of(hangar, user)
    assert hangar.rpc("fly_operator", user=user) == {"operator": False, "email": email}
    added = hangar.rpc("fly_add_operator", user=user, actor="cli:test", reason="on call")
    assert added == {"operator": True, "email": email, "changed": True}
    assert hangar.rpc("fly_add_operator", user=user, actor="cli:other")["changed"] is False
    [listed] = hangar.rpc("fly_operators")["operators"]
    assert (listed["user_id"], listed["operator"], listed["added_by"]) == (str(user), True, "cli:test")
    removed = hangar.rpc("fly_remove_operator", user=user, actor="cli:test")
    assert removed == {"operator": False, "email": email, "changed": True}
    assert hangar.rpc("fly_remove_operator", user=user, actor="cli:test")["changed"] is False
    assert hangar.rpc("fly_operators")["operators"] == []
    assert trail(hangar) == [
        {"actor": "cli:test", "reason": "on call", "email": email, "changes": {"operator_added": str(user)}},
        {"actor": "cli:test", "email": email, "changes": {"operator_removed": str(user)}},
    ]


def test_plain_sql_leaves_a_trail_too(hangar):
    first, second = hangar.user(), hangar.user()
    hangar.sql("insert into hangar.operators (user_id, added_by) values (%s, 'me')", first)
    hangar.sql("update hangar.operators set user_id = %s where user_id = %s", second, first)
    hangar.sql("update hangar.operators set added_by = 'you'")
    hangar.sql("delete from hangar.operators")
    assert [each["changes"] for each in trail(hangar)] == [
        {"operator_added": str(first)},
        {"operator_removed": str(first)},
        {"operator_added": str(second)},
        {"operator_removed": str(second)},
    ]
    assert {each["actor"] for each in trail(hangar)} == {"supabase_admin"}


@pytest.mark.parametrize(
    "leave",
    [
        "update auth.users set deleted_at = now() where id = %s",
        "delete from auth.users where id = %s",
        "update auth.users set banned_until = now() + interval '1 hour' where id = %s",
    ],
)
def test_a_deleted_or_banned_operator_is_no_operator_even_with_a_row(hangar, leave):
    user = hangar.user()
    hangar.rpc("fly_add_operator", user=user, actor="test")
    hangar.sql(leave, user)
    assert hangar.rpc("fly_operator", user=user)["operator"] is False
    assert [each["operator"] for each in hangar.rpc("fly_operators")["operators"]] == [False]


def test_a_ban_that_has_ended_is_ignored(hangar):
    user = hangar.user()
    hangar.rpc("fly_add_operator", user=user, actor="test")
    hangar.sql("update auth.users set banned_until = now() - interval '1 hour' where id = %s", user)
    assert hangar.rpc("fly_operator", user=user)["operator"] is True


def test_the_hosts_admin_is_no_operator(hangar):
    user = hangar.user()
    hangar.sql("update public.user_profiles set is_admin = true where id = %s", user)
    assert hangar.rpc("fly_operator", user=user)["operator"] is False


def test_the_name_is_the_accounts_and_not_the_profiles(hangar):
    """A profile may be its user's own to write."""
    user = hangar.user()
    hangar.sql("update public.user_profiles set email = 'boss@example.test' where id = %s", user)
    assert hangar.rpc("fly_operator", user=user)["email"] == email_of(hangar, user)


def test_an_unknown_user_cannot_become_an_operator_and_an_actor_is_required(hangar):
    for user, actor in ((uuid.uuid4(), "test"), (hangar.user(), ""), (None, "test")):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            hangar.rpc("fly_add_operator", user=user, actor=actor)
    assert hangar.rpc("fly_operators")["operators"] == []


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize("call", ["fly_operators()", "fly_operator(null)", "fly_add_operator(null, null)"])
def test_only_the_service_may_ask_or_change(hangar, role, call):
    session = hangar.connect(hangar.url, role)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(f"select public.{call}")


def restart_intent(app="app"):
    return {
        "id": str(uuid.uuid4()),
        "event_type": "action",
        "status": "intent",
        "metadata": {"action": "restart_machine", "purpose": "restart", "app": app},
    }


def outcome(intent, status):
    metadata = {"action": "restart_machine", "intent_id": intent["id"]}
    return {"id": str(uuid.uuid4()), "event_type": "action", "status": status, "metadata": metadata}


@pytest.mark.parametrize(("ended", "refused"), [("succeeded", "restarted"), ("unknown", "restarted"), ("failed", None)])
def test_a_restart_is_refused_within_a_minute_of_one_that_may_have_happened(hangar, ended, refused):
    user = hangar.user("pro")
    hangar.converge(user)
    first, second, third = restart_intent(), restart_intent(), restart_intent()
    row = hangar.lease(user)
    assert hangar.save(row, events=[first])["refused"] is None
    hangar.save(row, events=[outcome(first, ended)])
    assert hangar.save(row, events=[second])["refused"] == refused
    hangar.shift_clock(180)  # the lease has ended, too
    row = hangar.lease(user)
    assert hangar.save(row, events=[third])["refused"] is None
