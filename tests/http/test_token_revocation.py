"""A revoked token of a machine is refused by the host's tables and Hangar's, over the real path: gateway, role, policies."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr

from local.supabase.gateway import Gateway
from shared.adapters.user_tokens import mint_user_token
from tests.http.conftest import Project
from tests.support.databases import drop_database, fresh_database

TABLES = ("traders", "signals", "user_fly_apps", "user_fly_app_events", "user_subscriptions", "user_profiles")


@pytest.fixture(scope="module")
def project(_postgres_servers, keys, http):
    database = fresh_database(_postgres_servers("default"))
    with Gateway(database.replace("supabase_admin@", "authenticator@"), keys) as gateway:
        yield Project(gateway.url, keys, database, http)
    drop_database(database)


@pytest.fixture
def owner(project):
    """A paying user with a trader, a signal and an app, and the id of the app's row."""
    user = str(uuid4())
    project.sql(f"insert into auth.users (id, email) values ('{user}', 'user-{user[:8]}@example.test')")
    project.sql("update hangar.settings set live = true")
    project.sql(f"update public.user_subscriptions set tier = 'pro' where user_id = '{user}'")
    [(trader,)] = project.sql(f"insert into public.traders (user_id, name) values ('{user}', 't') returning id::text")
    project.sql(f"insert into public.signals (trader_id, user_id) values ('{trader}', '{user}')")
    project.sql("select public.fly_apply_marks()")
    [(app,)] = project.sql(f"select id::text from public.user_fly_apps where user_id = '{user}'")
    return user, app, trader


def mint(project, user, app, now, key=None):
    return mint_user_token(
        SecretStr(key or project.keys.signing_key_pem),
        issuer=f"{project.url}/auth/v1",
        user_id=user,
        app_id=app,
        now=now,
    )


def count_rows(project, token):
    """How many rows of each table this token reads."""
    answers = {table: project.send("GET", f"/rest/v1/{table}?select=*", token=token) for table in TABLES}
    assert {answer.status_code for answer in answers.values()} == {200}
    return {table: len(answer.json()) for table, answer in answers.items()}


def revoke(project, user):
    project.sql(f"select public.fly_revoke_user('{user}', 'ops@example.test', 'leaked')")


def test_a_revoked_token_reads_and_writes_nothing_and_a_later_one_works(project, owner):
    user, app, trader = owner
    now = datetime.now(UTC)
    token = mint(project, user, app, now - timedelta(minutes=5))
    before = count_rows(project, token)
    assert all(before.values())
    revoke(project, user)
    assert not any(count_rows(project, token).values())
    signal = {"trader_id": trader, "user_id": user}
    assert project.send("POST", "/rest/v1/signals", token=token, json=signal).status_code == 403
    later = mint(project, user, app, now + timedelta(seconds=5))
    assert count_rows(project, later).keys() == before.keys()
    assert all(count_rows(project, later).values())
    assert project.send("POST", "/rest/v1/signals", token=later, json=signal).status_code == 201


def test_the_users_own_sign_in_and_other_users_are_not_affected(project, owner):
    user = owner[0]
    person = project.user_token(user)
    before = count_rows(project, person)
    other, other_app = str(uuid4()), str(uuid4())
    machine = mint(project, other, other_app, datetime.now(UTC) - timedelta(minutes=5))
    project.sql(f"insert into auth.users (id, email) values ('{other}', 'user-{other[:8]}@example.test')")
    others = count_rows(project, machine)
    revoke(project, user)
    assert count_rows(project, person) == before
    assert count_rows(project, machine) == others
    assert others["user_profiles"] == 1


def test_the_second_of_the_revocation_is_refused_and_the_next_is_not(project, owner):
    """`iat` has whole seconds: a token of that second may be the one that was revoked."""
    user, app, _ = owner
    revoke(project, user)
    [(second,)] = project.sql(
        f"select floor(extract(epoch from revoked_at)) from hangar.token_revocations where user_id = '{user}'"
    )
    at = datetime.fromtimestamp(int(second), UTC)
    assert not any(count_rows(project, mint(project, user, app, at)).values())
    assert all(count_rows(project, mint(project, user, app, at + timedelta(seconds=1))).values())


def test_a_table_without_the_policy_still_accepts_a_revoked_token(project, owner):
    """Why the policy is needed: the data API knows nothing of a revocation."""
    user, app, _ = owner
    token = mint(project, user, app, datetime.now(UTC) - timedelta(minutes=5))
    revoke(project, user)
    project.sql("drop policy not_revoked on public.traders")
    try:
        assert count_rows(project, token)["traders"]
    finally:
        project.sql(
            "create policy not_revoked on public.traders as restrictive to authenticated using ((select hangar.token_is_valid()))"
        )
