"""The running local cloud: its addresses, one change through all its parts, and one clock for Fly and the database."""

import json
import os
import stat
import time
from datetime import timedelta

import psycopg
import pytest

from local.dev.child import DevError
from local.dev.cloud import LocalCloud
from local.dev.database import FREE_USERS, name_image
from tests.support.loopback import LOOPBACK

pytestmark = pytest.mark.proof  # `make demo` shows the same cloud at work
KEYS = {
    *("database_url", "supabase_url", "secret_key", "publishable_key", "auth_signing_key"),
    *("fly_api_url", "fly_api_token", "fly_org", "webhook_secret", "static_secret"),
    *("functions", "admin", "alerts_url", "pid", "version"),
}
DEADLINE_S = 150  # if a nudge is lost on a busy machine, the drain of the next full minute does its work


def eventually(look, reason="it did not come true"):
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    pytest.fail(reason)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def sql(cloud):
    with psycopg.connect(cloud.addresses["database_url"], autocommit=True) as session:
        yield session


def get(url, **options):
    return LOOPBACK.get(url, **options)


def post(url, **options):
    return LOOPBACK.post(url, **options)


def world(cloud):
    return get(f"{cloud.addresses['fly_api_url']}/_sim/world").json()


@pytest.mark.slow
def test_dev_json_has_every_address_and_is_private(cloud):
    path = cloud.folder / "dev.json"
    assert json.loads(path.read_text()) == cloud.addresses
    assert set(cloud.addresses) == KEYS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cloud.addresses["pid"] == os.getpid()
    assert set(cloud.addresses["functions"]) == {"provision", "deprovision", "health", "admin"}


@pytest.mark.slow
def test_every_address_answers_with_the_credentials_beside_it(cloud, sql):
    known = cloud.addresses
    sent = {"X-Hangar-Secret": known["static_secret"]}
    health = post(known["functions"]["health"], headers=sent, json={"drain_only": True})
    assert health.status_code == 200, health.text
    for name in ("provision", "deprovision"):
        assert post(known["functions"][name], json={"user_id": FREE_USERS[2].id}).status_code == 401
        assert post(known["functions"][name], headers=sent, json={"user_id": FREE_USERS[2].id}).status_code == 200
    fly = get(
        f"{known['fly_api_url']}/v1/apps",
        params={"org_slug": known["fly_org"]},
        headers={"Authorization": f"Bearer {known['fly_api_token']}"},
    )
    assert fly.status_code == 200
    rest = get(f"{known['supabase_url']}/rest/v1/user_fly_apps", headers={"apikey": known["secret_key"]})
    assert rest.status_code == 200
    signed_in = post(
        f"{known['supabase_url']}/auth/v1/token",
        params={"grant_type": "password"},
        headers={"apikey": known["publishable_key"]},
        json=known["admin"],
    )
    assert signed_in.status_code == 200
    assert get(known["alerts_url"]).json() == []
    assert sql.execute("select live, default_image from hangar.settings").fetchone() == (True, name_image())


@pytest.mark.slow
def test_one_sql_statement_provisions_an_app_and_another_removes_it(cloud, sql):
    """The host's UPDATE alone: trigger, nudge, function, Fly, machine, gateway, signal, and back."""
    user = FREE_USERS[0].id
    change_tier = "update public.user_subscriptions set tier = %s where user_id = %s"
    read_active = (
        "select id::text, fly_app_name, monthly_cost_estimate_usd::text from public.user_fly_apps"
        " where user_id = %s and status = 'active'"
    )
    read_signals = (
        "select distinct s.user_id::text, t.name, s.fly_app_id::text"
        " from public.signals s join public.traders t on t.id = s.trader_id"
    )
    sql.execute(change_tier, ("pro", user))
    row, name, cost = eventually(lambda: sql.execute(read_active, (user,)).fetchone(), "the app did not become active")
    assert cost == "6.00"
    assert eventually(lambda: sql.execute(read_signals).fetchall()) == [(user, "breakout", row)]
    (app,) = world(cloud)["apps"]
    (machine,) = app["machines"]
    assert (app["name"], machine["state"], machine["process"]) == (name, "started", True)
    assert not {"SUPABASE_USER_TOKEN", "SUPABASE_SECRET_KEY"} & set(machine["config"]["env"])
    sql.execute(change_tier, ("free", user))
    eventually(lambda: world(cloud)["apps"] == [], "the app was not removed")
    assert eventually(
        lambda: sql.execute(
            "select 1 from public.user_fly_apps where user_id = %s and status = 'deleted'", (user,)
        ).fetchone()
    )
    assert sql.execute("select count(*) > 0 from public.signals").fetchone() == (True,)


@pytest.mark.slow
def test_the_database_clock_has_moved_when_the_clock_control_answers(cloud, sql):
    fly_api_url = cloud.addresses["fly_api_url"]
    ahead = "select hangar.now() - clock_timestamp()"
    assert sql.execute(ahead).fetchone()[0] < timedelta(seconds=1)
    try:
        assert post(f"{fly_api_url}/_sim/clock", json={"advance_s": 3600}).status_code == 200
        assert timedelta(seconds=3599) < sql.execute(ahead).fetchone()[0] < timedelta(seconds=3601)
        assert post(f"{fly_api_url}/_sim/clock", json={"advance_s": 60.5}).status_code == 200
        assert timedelta(seconds=3660) < sql.execute(ahead).fetchone()[0] < timedelta(seconds=3661)
    finally:
        post(f"{fly_api_url}/_sim/reset")
    assert abs(sql.execute(ahead).fetchone()[0]) < timedelta(seconds=1)


@pytest.mark.slow
def test_a_second_cloud_in_the_folder_is_refused_and_the_first_is_unharmed(cloud):
    with pytest.raises(DevError, match=rf"already runs in .*\(pid {os.getpid()}\)"):
        LocalCloud(cloud.folder).start()
    assert (cloud.folder / "dev.json").exists()
    cloud.check()
