"""The unmodified `supabase` client on Hangar's schema, as the host's backend and as a user's machine."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from postgrest import APIError
from pydantic import SecretStr

from local.supabase.gateway import Gateway
from shared.adapters.user_tokens import mint_user_token
from supabase import ClientOptions, create_client


@pytest.fixture
def gateway(database, keys, connect):
    connect(database).execute("update hangar.settings set live = true")
    with Gateway(database.replace("supabase_admin@", "authenticator@"), keys) as running:
        yield running


def make_client(gateway, http, key, **headers):
    options = ClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
    options.headers |= headers
    return create_client(gateway.url, key, options=options)


@pytest.fixture
def user(database, connect):
    user = str(uuid4())
    connect(database).execute("insert into auth.users (id, email) values (%s, 'user-1@example.test')", (user,))
    return user


def test_the_hosts_backend_changes_a_tier_and_reads_the_result(gateway, http, keys, user):
    client = make_client(gateway, http, keys.secret_key)
    client.table("user_subscriptions").update({"tier": "pro"}).eq("user_id", user).execute()
    client.rpc("fly_apply_marks", {}).execute()
    [row] = client.table("user_fly_apps").select("*").eq("user_id", user).is_("deleted_at", "null").execute().data
    assert (row["status"], row["desired_state"], row["tier"]) == ("provisioning", "present", "pro")
    report = client.rpc("fly_user_status", {"p_user": user}).execute().data
    assert (report["entitled"], report["row"]["fly_app_name"]) == (True, row["fly_app_name"])
    summary = client.table("fly_fleet_summary").select("status, apps").execute().data
    assert summary == [{"status": "provisioning", "apps": 1}]
    plan = client.table("fly_plans").update({"grace_s": 60}).eq("tier", "pro").execute().data
    assert plan[0]["grace_s"] == 60
    with pytest.raises(APIError, match="42501"):
        client.table("user_fly_apps").update({"status": "active"}).eq("user_id", user).execute()


def test_a_users_machine_reads_its_row_and_writes_a_signal(gateway, http, keys, user):
    host = make_client(gateway, http, keys.secret_key)
    host.table("user_subscriptions").update({"tier": "elite"}).eq("user_id", user).execute()
    host.rpc("fly_apply_marks", {}).execute()
    app = host.table("user_fly_apps").select("id").eq("user_id", user).single().execute().data["id"]
    key, issuer = SecretStr(keys.signing_key_pem), f"{gateway.url}/auth/v1"
    token = mint_user_token(key, issuer=issuer, user_id=UUID(user), app_id=UUID(app), now=datetime.now(UTC))
    machine = make_client(gateway, http, keys.publishable_key, Authorization=f"Bearer {token}")
    assert [row["id"] for row in machine.table("user_fly_apps").select("*").execute().data] == [app]
    machine.table("signals").insert({"user_id": user, "fly_app_id": app, "payload": {"n": 1}}).execute()
    assert machine.table("signals").select("payload").execute().data == [{"payload": {"n": 1}}]
    with pytest.raises(APIError, match="42501"):
        machine.rpc("fly_user_status", {"p_user": user}).execute()
