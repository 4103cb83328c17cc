"""A captured nudge can be replayed and changes nothing, because a nudge carries no state.

Checked on Fly and in the audit log, with real functions and many replays each, several at the same time.
"""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from local.dev.database import FREE_USERS
from shared.settings.validators import webhook_key
from tests.http.running_function import sign
from tests.support.loopback import LOOPBACK
from tests.support.sizes import size

REPLAYS, AT_ONCE = size("REPLAYS"), 5
USER = FREE_USERS[0].id


class CapturedNudge:
    """One signed request to one function, which can be replayed."""

    def __init__(self, cloud, function):
        self.url = cloud.addresses["functions"][function]
        self.body = b'{"user_id": "%s"}' % USER.encode()
        signed = sign(self.body, key=webhook_key(cloud.addresses["webhook_secret"]))
        self.headers = {"Content-Type": "application/json", **signed}

    def send(self, _=None):
        answer = LOOPBACK.post(self.url, content=self.body, headers=self.headers)
        assert answer.status_code in (200, 202), answer.text  # 202: another copy holds the lease
        return answer.status_code

    def replay(self):
        with ThreadPoolExecutor(AT_ONCE) as senders:
            assert set(senders.map(self.send, range(REPLAYS))) >= {200}


def read_state(cloud, sql):
    """What exists on Fly, every call that could have changed it, and the rows and events of the database."""
    world = LOOPBACK.get(f"{cloud.addresses['fly_api_url']}/_sim/world").json()
    writes = {call: count for call, count in world["requests"].items() if not call.startswith("GET ")}
    row = sql.execute(
        "select id, status, desired_state, generation, machine_id, retry_count, next_attempt_at"
        " from public.user_fly_apps order by created_at"
    ).fetchall()
    events = sql.execute("select count(*) from public.user_fly_app_events").fetchone()
    apps = [
        (
            app["name"],
            app["network"],
            [(machine["id"], machine["state"], machine["config"]) for machine in app["machines"]],
        )
        for app in world["apps"]
    ]
    return {"apps": apps, "destroyed": world["destroyed"], "writes": writes, "rows": row, "events": events}


@pytest.fixture
def sql(cloud):
    cloud.reset()
    with psycopg.connect(cloud.addresses["database_url"], autocommit=True) as session:
        yield session


def subscribe(sql, tier):
    """Change the tier without a wake-up call, so that only the replays are sent."""
    sql.execute("begin")
    sql.execute("set local hangar.wake_ups = '6'")
    sql.execute("update public.user_subscriptions set tier = %s where user_id = %s", (tier, USER))
    sql.execute("commit")


@pytest.mark.sized
@pytest.mark.slow
def test_a_replayed_nudge_changes_nothing(cloud, sql):
    """One of many copies acts. After a downgrade no copy restores the app. While the user is entitled no copy removes it."""
    upgrade, downgrade = CapturedNudge(cloud, "provision"), CapturedNudge(cloud, "deprovision")
    subscribe(sql, "pro")
    assert upgrade.send() == 200
    before = read_state(cloud, sql)
    [(_, _, [(_, state, _)])] = before["apps"]
    assert (state, before["rows"][0][1]) == ("started", "active")
    upgrade.replay()
    assert read_state(cloud, sql) == before
    downgrade.replay()
    assert read_state(cloud, sql) == before
    subscribe(sql, "free")
    while downgrade.send() != 200:
        pass
    gone = read_state(cloud, sql)
    assert gone["apps"] == []
    upgrade.replay()
    downgrade.replay()
    assert read_state(cloud, sql) == gone
