"""Drift in the database: what is remembered of it, what holds its repair back, and which app is next. Each guard alone."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.postgres.app_rows import ago, ask, change, each, open_alert, open_alerts, put, read, set_settings

MINUTE, HOUR = 60, 3600
SIZE = {"guest": "runs big; should run small"}
KNOWN = {
    "drift": SIZE,
    "drift_since": ago(600),
    "drift_repair": "sweep",
    "drift_repairs": 2,
    "drift_repair_at": ago(HOUR),
    "drift_error": "no room",
}


def remembered(hangar, row):
    return {name: read(hangar, row)[name] for name in KNOWN}


@pytest.mark.parametrize("changed", [{"generation": 2}, {"status": "deleted", "deleted_at": ago(0)}])
def test_a_new_generation_and_the_end_of_a_row_end_its_drift(inside, changed):
    """What differs then is work in progress. After a new generation the repairs before it count no more."""
    row = put(inside, **KNOWN)
    change(inside, row, **changed)
    found = remembered(inside, row)
    assert [found[name] for name in ("drift", "drift_since", "drift_repair", "drift_error")] == [{}, None, None, None]
    if "generation" in changed:
        assert (found["drift_repairs"], found["drift_repair_at"]) == (0, None)


def test_drift_that_ends_leaves_the_count_of_its_repairs(inside):
    """So that something which changes the machine again and again is noticed."""
    row = put(inside, **KNOWN)
    change(inside, row, drift={})
    found = remembered(inside, row)
    assert (found["drift_since"], found["drift_repair"], found["drift_error"], found["drift_repairs"]) == (
        None,
        None,
        None,
        2,
    )
    assert found["drift_repair_at"] is not None


@pytest.mark.parametrize(("ago_s", "repairs"), [(59 * MINUTE, 2), (61 * MINUTE, 0), (None, 0)])
def test_drift_that_returns_within_the_hour_counts_on(inside, ago_s, repairs):
    row = put(inside, drift_repairs=2, drift_repair_at=None if ago_s is None else ago(ago_s))
    change(inside, row, drift=SIZE)
    found = remembered(inside, row)
    assert (found["drift_repairs"], found["drift_since"] is not None) == (repairs, True)


def test_drift_that_grows_began_when_it_began(inside):
    row = put(inside, **KNOWN)
    since = read(inside, row)["drift_since"]
    change(inside, row, drift={**SIZE, "env": "runs x; should run y"})
    assert (read(inside, row)["drift_since"], read(inside, row)["drift_repairs"]) == (since, 2)


def test_the_digest_belongs_to_the_image(inside):
    row = put(inside, image_digest="sha256:a")
    change(inside, row, generation=2)
    assert read(inside, row)["image_digest"] == "sha256:a"
    change(inside, row, docker_image="registry.example.test/app:v2")
    assert read(inside, row)["image_digest"] is None


def test_the_log_says_when_drift_began_and_what_it_was(inside):
    row = put(inside)
    change(inside, row, drift=SIZE)
    change(inside, row, drift={})
    events = inside.sql("select event_type, metadata from user_fly_app_events where fly_app_id = %s order by seq", row)
    began, ended = [each for each in events if each["event_type"].startswith("drift")]
    assert (began["event_type"], began["metadata"]) == ("drift_found", SIZE)
    assert (ended["event_type"], ended["metadata"]["was"]) == ("drift_ended", SIZE)


HOLDS = [
    ({}, [], None),
    ({"paused": True}, [], "paused"),
    ({"drift_share": 0}, [], "off"),
    *(({}, [{"kind": kind}], kind) for kind in ("incident", "fly_unreachable", "brake", "installation")),
    ({}, [{"kind": "drift"}], None),
    ({}, [{"kind": "incident", "resolved_at": ago(1)}], None),
]


def test_what_holds_the_repair_of_drift(inside):
    for settings, alerts, hold in each(inside, HOLDS):
        if settings:
            set_settings(inside, **settings)
        for alert in alerts:
            open_alert(inside, **alert)
        assert inside.one("select hangar.drift_hold()") == hold, (settings, alerts)


REPAIRED = [
    ({"status": "error"}, "last_repair"),
    ({"health_status": "unhealthy"}, "last_repair"),
    ({"health_status": "healthy"}, None),
    ({"status": "error", "drift_repair_at": ago(61 * MINUTE)}, None),
    ({"status": "error", "drift_repair_at": None}, None),
    ({"health_status": "unhealthy", "desired_state": "absent"}, None),
    ({"health_status": "unhealthy", "status": "deleted", "deleted_at": ago(0)}, None),
]


def test_one_bad_repair_of_the_last_hour_stops_the_others(inside):
    for repaired, hold in each(inside, REPAIRED):
        put(inside, **{"drift_repair_at": ago(59 * MINUTE), **repaired})
        assert inside.one("select hangar.drift_hold()") == hold, repaired


@pytest.mark.parametrize(
    ("admitted", "paused", "may"),
    [
        ("operator", False, True),
        ("operator", True, True),
        ("sweep", False, True),
        ("sweep", True, False),
        (None, False, False),
    ],
)
def test_an_admission_of_a_sweep_ends_when_something_holds_the_repair(inside, admitted, paused, may):
    row = put(inside, drift=SIZE, drift_repair=admitted)
    set_settings(inside, paused=paused)
    assert inside.one("select hangar.may_repair_drift(%s)", row) is may
    assert read(inside, row)["drift_repair"] == (admitted if may else None)


def deploy(hangar, row, purpose, deploying=None):
    names = ("drift_repair", "drift_repairs", "drift_error", "env_digest", "env_version_deployed", "image_digest")
    columns = ", ".join(f"(r).{name}" for name in names)
    [found] = hangar.sql(
        f"select {columns}, (r).drift_repair_at > hangar.now() - interval '1 minute' as just_repaired"
        " from (select hangar.record_deploying(a, %s::jsonb, %s::jsonb) as r from user_fly_apps a where a.id = %s) x",
        json.dumps({"metadata": {"purpose": purpose}}),
        deploying,
        row,
    )
    return found


def test_a_repair_is_used_up_before_its_call(inside):
    """A worker that dies in the call repeats nothing, and the time of the last repair decides when the next one is."""
    row = put(inside, **KNOWN)
    found = deploy(inside, row, "drift")
    assert (found["drift_repair"], found["drift_repairs"], found["drift_error"]) == (None, 3, None)
    assert found["just_repaired"]
    other = deploy(inside, row, "update")
    assert (other["drift_repair"], other["drift_repairs"], other["drift_error"]) == ("sweep", 2, "no room")
    assert not other["just_repaired"]


def test_what_is_deployed_is_remembered(inside):
    """The fingerprint and version of the environment; a tag that is resolved again has a new digest."""
    row = put(inside, env_version="2", env_version_deployed="1", env_digest="old", image_digest="sha256:a")
    kept = deploy(inside, row, "update", '{"env_digest": "new", "resolves_tag": false}')
    assert (kept["env_digest"], kept["env_version_deployed"], kept["image_digest"]) == ("new", "2", "sha256:a")
    assert deploy(inside, row, "update", '{"env_digest": "new", "resolves_tag": true}')["image_digest"] is None
    for nothing in (None, "null"):
        untouched = deploy(inside, row, "restart", nothing)
        assert (untouched["env_digest"], untouched["env_version_deployed"]) == ("old", "1")


@pytest.mark.parametrize(
    ("changed", "after"),
    [
        ({}, ("operator", 0)),
        ({"desired_state": "absent"}, (None, 3)),
        ({"status": "deleted", "deleted_at": ago(0)}, (None, 3)),
    ],
)
def test_an_operator_asks_for_the_repair_of_a_wanted_app(inside, changed, after):
    """Also after Hangar has given up."""
    row = put(inside, drift_repairs=3, **changed)
    inside.sql("select hangar.request_drift_repair(%s)", row)
    assert (read(inside, row)["drift_repair"], read(inside, row)["drift_repairs"]) == after


def start(hangar):
    return hangar.one("select public.fly_start_drift_repairs()")


LEASE = "00000000-0000-0000-0000-000000000001"
DRIFTED = [
    ({}, 1),
    ({"machine_state": "stopped"}, 1),
    ({"machine_state": "suspended"}, 1),
    ({"machine_state": "starting"}, 0),
    ({"machine_state": None}, 0),
    ({"drift": {}}, 0),
    ({"drift": {"region": "runs a; should run b"}}, 0),
    ({"drift": {"region": "runs a; should run b", **SIZE}}, 1),
    ({"drift_repair": "operator"}, 0),
    ({"status": "provisioning"}, 0),
    ({"desired_state": "absent"}, 0),
    ({"generation": 2}, 0),
    ({"lease_token": LEASE, "lease_expires_at": ago(-60)}, 0),
    ({"lease_token": LEASE, "lease_expires_at": ago(1)}, 1),
    ({"drift_repairs": 1, "drift_repair_at": ago(595)}, 0),
    ({"drift_repairs": 1, "drift_repair_at": ago(605)}, 1),
    ({"drift_repairs": 2, "drift_repair_at": ago(605)}, 0),
    ({"drift_repairs": 2, "drift_repair_at": ago(1805)}, 1),
    ({"drift_repairs": 3, "drift_repair_at": ago(10 * HOUR)}, 0),
]


def test_which_drift_is_repaired(inside):
    """Of an app that is otherwise as desired and that nobody works on. A further repair waits longer, and there are three."""
    set_settings(inside, retry_base_s=600, retry_cap_s=1800)
    for changed, started in each(inside, DRIFTED):
        row = put(inside, **{"drift": SIZE, "drift_since": ago(60), **changed})
        assert start(inside)["started"] == started, changed
        found = read(inside, row)
        assert (found["drift_repair"] == "sweep") == (found["next_attempt_at"] is not None) == bool(started), changed


OTHERS = [
    ({}, 1),
    ({"drift_repair": "sweep"}, 0),
    ({"drift_repair": "operator"}, 1),
    ({"drift_repair_at": ago(4 * MINUTE)}, 0),
    ({"drift_repair_at": ago(6 * MINUTE)}, 1),
    ({"drift_repair_at": ago(4 * MINUTE), "status": "deleted", "deleted_at": ago(0)}, 1),
]


def test_a_small_fleet_has_one_repair_at_a_time(inside):
    """One that was admitted or made within the last five minutes takes the place."""
    for other, started in each(inside, OTHERS):
        put(inside, drift=SIZE, drift_since=ago(60))
        put(inside, **other)
        assert start(inside)["started"] == started, other


def test_the_oldest_drift_is_repaired_first_and_apps_that_are_not_hangars_make_no_room(inside):
    set_settings(inside, drift_share=0.1)
    legacy = {"desired_state": "legacy", "generation": 0, "observed_generation": None, "machine_state": None}
    for _ in range(17):
        put(inside, **legacy)
    newer = put(inside, id=uuid.UUID(int=1), drift=SIZE, drift_since=ago(60))
    older = put(inside, id=uuid.UUID(int=2), drift=SIZE, drift_since=ago(120))
    put(inside)
    assert start(inside) == {"started": 1, "held": None, "drifted": 2}
    assert (read(inside, older)["drift_repair"], read(inside, newer)["drift_repair"]) == ("sweep", None)


def test_while_something_holds_it_nothing_is_started(inside):
    put(inside, drift=SIZE, drift_since=ago(60))
    set_settings(inside, paused=True)
    assert start(inside) == {"started": 0, "held": "paused", "drifted": 1}


def test_the_alert_of_a_kind_names_three_apps_and_ends_with_its_kind(inside):
    """And says how many have been given up; one that an operator has asked to repair is not."""
    rows = [put(inside, drift=SIZE, drift_since=ago(600 - n), drift_repairs=3) for n in range(4)]
    change(inside, rows[0], drift_repair="operator")
    open_alert(inside, "drift", "env")
    inside.sql("select hangar.check_drift()")
    assert open_alerts(inside, "drift") == [("drift", "guest")]
    [alert] = inside.sql("select message, metadata from hangar.alerts where key = 'guest'")
    named = [read(inside, row)["fly_app_name"] in alert["message"] for row in rows]
    assert (named, "; …" in alert["message"]) == ([True, True, True, False], True)
    assert alert["metadata"] == {"apps": 4, "given_up": 3}
    change(inside, rows[3], drift={})
    inside.sql("select hangar.check_drift()")
    assert "; …" not in inside.one("select message from hangar.alerts where key = 'guest'")


def test_the_count_of_drift_is_by_kind(inside):
    put(inside, drift={**SIZE, "env": "e"}, drift_since=ago(60))
    put(inside, drift=SIZE, drift_since=ago(600))
    put(inside, drift=SIZE, status="deleted", deleted_at=ago(0))
    found = inside.one("select hangar.count_drift()")
    assert (found["apps"], found["kinds"], found["held"]) == (2, {"guest": 2, "env": 1}, None)
    assert inside.one("select %s::timestamptz < hangar.now() - interval '500 s'", found["oldest"])


def test_an_intent_to_repair_drift_is_refused_without_an_admission(inside, act):
    """The worker has read the row before, and the admission has ended since."""
    row = put(inside, drift=SIZE)
    installation = inside.one("select installation_id::text from hangar.settings")
    change(inside, row, network=inside.one("select hangar.network_name(%s::uuid, %s)", installation, row))
    intent = act.intent("update_machine", purpose="drift", installation_id=installation)
    assert ask(inside, "check_intent", row, intent) == "stale"
    change(inside, row, drift_repair="sweep")
    assert ask(inside, "check_intent", row, intent) is None


def test_two_sweeps_do_not_both_see_the_last_place(hangar):
    """The second one waits for the first, and then counts what it has admitted."""
    hangar.sql("alter function public.fly_start_drift_repairs() set lock_timeout = '60s'")
    for _ in range(2):
        put(hangar, drift=SIZE, drift_since=ago(60))
    first, second = hangar.worker(), hangar.worker()
    with ThreadPoolExecutor(1) as pool:
        with first.transaction():
            assert hangar.rpc("fly_start_drift_repairs", via=first)["started"] == 1
            late = pool.submit(hangar.rpc, "fly_start_drift_repairs", via=second)
            hangar.wait_until_blocked(second)
        assert late.result(timeout=30)["started"] == 0


def test_a_row_that_somebody_holds_is_not_waited_for(hangar):
    put(hangar, drift=SIZE, drift_since=ago(120))
    free = put(hangar, drift=SIZE, drift_since=ago(60))
    other = hangar.connect(hangar.url)
    with other.transaction():
        other.execute("select 1 from user_fly_apps where id <> %s for update", [free])
        assert hangar.rpc("fly_start_drift_repairs")["started"] == 1
    assert read(hangar, free)["drift_repair"] == "sweep"
