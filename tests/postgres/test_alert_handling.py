"""Alerts that an operator acknowledges or snoozes, plans that an operator changes, and commands in machines on record."""

import re
import uuid

import psycopg
import pytest

from tests.postgres.test_alert_delivery import HOOK, open_kinds, record, shown, take, waiting

ACTOR = "cli:ops"


@pytest.fixture
def alert(hangar):
    """The id of an open alert that its destination has accepted."""
    assert take(hangar, HOOK) == []
    hangar.rpc("fly_raise_alert", kind="test", key="a", message="a is broken")
    record(hangar, take(hangar), "delivered")
    [row] = hangar.sql("select id from hangar.alerts where kind = 'test' and resolved_at is null")
    return row["id"]


def of_test(messages):
    """A sweep may raise alerts of its own."""
    return [message for message in messages if message["kind"] == "test"]


def end_snooze(hangar):
    """Let the time of every snooze pass, and end a sweep."""
    hangar.sql("update hangar.alert_handling set until = hangar.now() - interval '1 second' where until is not null")
    sweep(hangar)


def sweep(hangar):
    claimed = hangar.rpc("fly_sweep_claim", name="fleet", holder="test")
    assert hangar.rpc("fly_sweep_finish", name="fleet", token=claimed["token"], report={}, complete=True)["ok"]


def refused(hangar, sqlstate, name, **args):
    """The text of the refusal of a procedure."""
    with pytest.raises(psycopg.Error) as error:
        hangar.rpc(name, **args)
    assert error.value.sqlstate == sqlstate, error.value
    return str(error.value)


def acknowledge(hangar, alert, **more):
    return hangar.rpc("fly_acknowledge_alert", alert=str(alert), actor=ACTOR, **more)


def snooze(hangar, alert, hours=1):
    [row] = hangar.sql(f"select hangar.now() + interval '{hours} hours' as at")
    return hangar.rpc("fly_snooze_alert", alert=str(alert), until=row["at"].isoformat(), actor=ACTOR, reason="later")


def test_an_acknowledged_alert_is_shown_so_and_ends_as_before(hangar, alert):
    """Who and why are on record. It is not sent again, and "resolved" is sent when it ends."""
    done = acknowledge(hangar, alert, reason="I look at it")
    assert (done["handling"]["state"], done["handling"]["actor"], done["handling"]["reason"]) == (
        "acknowledged",
        ACTOR,
        "I look at it",
    )
    sweep(hangar)
    assert waiting(hangar) == []
    [listed] = [each for each in hangar.rpc("fly_list_alerts")["alerts"] if each["kind"] == "test"]
    assert listed["handling"] == done["handling"]
    [event] = hangar.sql("select metadata from public.user_fly_app_events where event_type = 'alert_handled'")
    assert (event["metadata"]["what"], event["metadata"]["actor"], event["metadata"]["reason"]) == (
        "acknowledged",
        ACTOR,
        "I look at it",
    )
    hangar.rpc("fly_resolve_alert", kind="test", key="a")
    assert waiting(hangar) == [("a", "resolved")]
    assert "test" not in open_kinds(hangar)


def test_a_snoozed_alert_is_sent_again_after_the_time_and_only_once(hangar, alert):
    snooze(hangar, alert)
    sweep(hangar)
    assert waiting(hangar) == []
    end_snooze(hangar)
    messages = of_test(take(hangar))
    assert shown(messages) == [("a", "reminded")]
    record(hangar, messages, "delivered")
    end_snooze(hangar)
    assert waiting(hangar) == []
    [listed] = [each for each in hangar.rpc("fly_list_alerts")["alerts"] if each["kind"] == "test"]
    assert listed["handling"] is None
    snooze(hangar, alert)
    end_snooze(hangar)
    again = of_test(take(hangar))
    assert shown(again) == [("a", "reminded")]
    assert again[0]["queued_at"] > messages[0]["queued_at"]


def test_an_alert_that_ended_during_its_snooze_is_not_sent_again(hangar, alert):
    snooze(hangar, alert)
    hangar.rpc("fly_resolve_alert", kind="test", key="a")
    end_snooze(hangar)
    assert waiting(hangar) == [("a", "resolved")]


def test_an_acknowledgement_replaces_a_snooze(hangar, alert):
    snooze(hangar, alert)
    acknowledge(hangar, alert)
    end_snooze(hangar)
    assert waiting(hangar) == []


def test_a_woken_alert_is_open_as_before_and_not_sent_again(hangar, alert):
    """The audit log has who woke it. To wake it twice changes nothing."""
    snooze(hangar, alert)
    assert hangar.rpc("fly_overview")["alerts_handled"] == {"acknowledged": 0, "snoozed": 1}
    done = hangar.rpc("fly_wake_alert", alert=str(alert), actor=ACTOR, reason="I am back")
    assert done["handling"] is None
    hangar.rpc("fly_wake_alert", alert=str(alert), actor=ACTOR)
    assert hangar.rpc("fly_overview")["alerts_handled"] == {"acknowledged": 0, "snoozed": 0}
    events = hangar.sql(
        "select metadata from public.user_fly_app_events where event_type = 'alert_handled' order by seq"
    )
    assert [event["metadata"]["what"] for event in events] == ["snoozed", "woken"]
    assert (events[1]["metadata"]["actor"], events[1]["metadata"]["reason"]) == (ACTOR, "I am back")
    end_snooze(hangar)
    assert waiting(hangar) == []
    hangar.rpc("fly_resolve_alert", kind="test", key="a")
    refused(hangar, "PT409", "fly_wake_alert", alert=str(alert), actor=ACTOR)
    refused(hangar, "22023", "fly_wake_alert", alert=str(uuid.uuid4()), actor=ACTOR)


def test_the_pages_hide_a_snoozed_alert_only_until_its_time(hangar, alert):
    """The counts and the list of the overview have it meanwhile."""
    operator = str(hangar.user("pro"))
    hangar.sql(f"insert into hangar.operators (user_id, added_by) values ('{operator}', 'test')")

    def frame():
        return hangar.rpc("fly_admin_frame", user=operator)

    assert "test" in {each["kind"] for each in frame()["alerts"]}
    acknowledge(hangar, alert, reason="mine")
    [shown] = [each for each in frame()["alerts"] if each["kind"] == "test"]
    assert (shown["id"], shown["handling"]["state"], shown["handling"]["actor"]) == (str(alert), "acknowledged", ACTOR)
    snooze(hangar, alert)
    assert "test" not in {each["kind"] for each in frame()["alerts"]}
    assert frame()["alerts_handled"]["snoozed"] == 1
    [listed] = [each for each in hangar.rpc("fly_overview")["alerts"] if each["kind"] == "test"]
    assert listed["handling"]["state"] == "snoozed"
    hangar.sql("update hangar.alert_handling set until = hangar.now() - interval '1 second'")
    assert "test" in {each["kind"] for each in frame()["alerts"]}
    assert frame()["alerts_handled"]["snoozed"] == 0


def test_a_message_that_waits_anyway_is_not_sent_twice(hangar):
    """The destination has not accepted the opening yet."""
    assert take(hangar, HOOK) == []
    hangar.rpc("fly_raise_alert", kind="test", key="a", message="a is broken")
    [row] = hangar.sql("select id from hangar.alerts where kind = 'test'")
    snooze(hangar, row["id"])
    end_snooze(hangar)
    assert waiting(hangar) == [("a", "opened")]


def test_only_an_open_alert_can_be_handled(hangar, alert):
    """And a snooze lies in the next 30 days. Each refusal leaves nothing behind."""
    refused(hangar, "22023", "fly_acknowledge_alert", alert=str(uuid.uuid4()), actor=ACTOR)
    refused(hangar, "22023", "fly_acknowledge_alert", alert=str(alert), actor="")
    for hours in (-1, 24 * 31):
        [row] = hangar.sql(f"select hangar.now() + interval '{hours} hours' as at")
        refused(hangar, "22023", "fly_snooze_alert", alert=str(alert), until=row["at"].isoformat(), actor=ACTOR)
    hangar.rpc("fly_resolve_alert", kind="test", key="a")
    refused(hangar, "PT409", "fly_acknowledge_alert", alert=str(alert), actor=ACTOR)
    assert hangar.sql("select 1 from hangar.alert_handling") == []
    assert hangar.sql("select 1 from public.user_fly_app_events where event_type = 'alert_handled'") == []


def set_plan(hangar, tier, create=False, **changes):
    return hangar.rpc("fly_set_plan", tier=tier, changes=changes, actor=ACTOR, reason="why", create=create)


def test_a_plan_is_changed_as_a_whole_and_recorded(hangar):
    """Values come as text too. A repeated change records nothing."""
    done = set_plan(hangar, "pro", memory_mb="1024", price_usd="29.50", region=" SIN,nrt ", docker_image=None)
    assert set(done["changed"]) >= {"memory_mb", "price_usd", "region"}
    assert (done["plan"]["memory_mb"], done["plan"]["region"]) == (1024, "sin,nrt")
    assert "env" not in done["plan"]
    assert set_plan(hangar, "pro", memory_mb=1024)["changed"] == []
    [event] = hangar.sql("select metadata from public.user_fly_app_events where event_type = 'plan_changed'")
    assert (event["metadata"]["tier"], event["metadata"]["actor"], event["metadata"]["reason"]) == ("pro", ACTOR, "why")
    assert event["metadata"]["changes"]["memory_mb"]["to"] == 1024
    made = set_plan(hangar, "team", create=True, cpu_count=4, memory_mb=2048)
    assert (made["created"], made["plan"]["dedicated"], made["plan"]["memory_mb"]) == (True, True, 2048)


def test_the_variables_of_a_plan_are_set_and_removed_one_by_one(hangar):
    """Others stay. Names are recorded, values never. The answer says which apps differ from the plan now."""
    user = hangar.user("pro")
    app = hangar.converge(user)["fly_app_name"]
    done = set_plan(hangar, "pro", env={"LOG_LEVEL": "s3cr3t", "MODE": "fast"})
    assert (done["changed"], done["env"]) == (["env"], ["LOG_LEVEL", "MODE"])
    assert done["drift"] == {"apps": 1, "examples": [app]}
    assert set_plan(hangar, "elite", rank=9)["drift"]["apps"] == 0
    assert set_plan(hangar, "pro", env={"MODE": "fast"})["changed"] == []
    removed = set_plan(hangar, "pro", env={"LOG_LEVEL": None, "MODE": "slow"})
    assert removed["env"] == ["MODE"]
    assert hangar.one("select env from fly_plans where tier = 'pro'") == {"MODE": "slow"}
    events = hangar.sql(
        "select metadata from public.user_fly_app_events where event_type = 'plan_changed' order by seq"
    )
    assert [event["metadata"]["changes"].get("env") for event in events if event["metadata"]["tier"] == "pro"] == [
        {"set": ["LOG_LEVEL", "MODE"]},
        {"set": ["MODE"], "removed": ["LOG_LEVEL"]},
    ]
    assert "s3cr3t" not in str(events)


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"env": {"USER_ID": "x"}}, "must not name what Hangar sets itself: USER_ID"),
        ({"env": {"A": 1}}, "names like LOG_LEVEL to texts; not so: A"),
        ({"env": {"A": None}}, "env has no variable A; it has: none"),
        ({"env": None}, "must be an object"),
        ({"env": ["A"]}, "must be an object"),
        ({"memory_mb": "much"}, "a number of MB"),
        ({"memory_mb": 100}, "need at least"),
        ({"cpu_kind": "quick"}, "shared or performance"),
        ({"power": "sometimes"}, "always_on or on_demand"),
        ({"on_unhealthy": "explode"}, "alert, restart or replace"),
        ({"price_usd": "-1"}, "an amount in USD"),
        ({"grace_s": None}, "a number of seconds"),
        ({"region": "moon"}, "does not exist on Fly"),
        ({"docker_image": "no tag"}, "a tag or a digest"),
        ({"dedicated": "maybe"}, "true or false"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_value_that_is_not_allowed_changes_nothing_and_names_the_allowed_ones(hangar, changes, allowed):
    before = hangar.sql("select * from public.fly_plans order by tier")
    error = refused(hangar, "22023", "fly_set_plan", tier="pro", changes={"rank": 7, **changes}, actor=ACTOR)
    assert re.search(allowed, error), error
    assert hangar.sql("select * from public.fly_plans order by tier") == before


def test_an_unknown_plan_names_the_plans_and_an_existing_one_is_not_made_again(hangar):
    assert "pro" in refused(hangar, "22023", "fly_set_plan", tier="gold", changes={"rank": 1}, actor=ACTOR)
    refused(hangar, "PT409", "fly_set_plan", tier="pro", changes={"rank": 1}, actor=ACTOR, create=True)
    for tier in (" ", "", " x", None):
        refused(hangar, "22023", "fly_set_plan", tier=tier, changes={}, actor=ACTOR, create=True)


@pytest.mark.parametrize("tier", ["team ", " team", "team\n", "\tteam", " ", ""])
def test_a_tier_with_white_space_around_it_is_refused_at_the_table(hangar, tier):
    """The tier of a subscription is read without it, so nobody would get this plan."""
    with pytest.raises(psycopg.Error, match="white space") as caught:
        hangar.sql("insert into public.fly_plans (tier, dedicated) values (%s, true)", tier)
    assert caught.value.sqlstate == "22023"
    with pytest.raises(psycopg.Error, match="white space"):
        hangar.sql("update public.fly_plans set tier = %s where tier = 'free'", tier)
    refused(hangar, "22023", "fly_set_plan", tier=tier, changes={}, actor=ACTOR, create=True)


def test_a_command_is_on_record_before_and_after_with_its_reason(hangar):
    """A command without a reason, or without a machine to run it in, is refused."""
    user, command = hangar.user("pro"), uuid.uuid4()
    hangar.follow()
    args = {"id": command, "user": user, "command": "env", "actor": ACTOR, "reason": "ticket 7"}
    refused(hangar, "PT409", "fly_record_command", **args, status="intent")
    row = hangar.converge(user)
    for wrong in (
        {"reason": " "},
        {"command": ""},
        {"status": "maybe"},
        {"detail": {"stdout": "secret"}},
        {"actor": ""},
    ):
        refused(hangar, "22023", "fly_record_command", **{**args, "status": "intent", **wrong})
    assert hangar.rpc("fly_record_command", **args, status="intent")["machine_id"] == row["machine_id"]
    hangar.rpc("fly_record_command", **args, status="failed", detail={"exit_code": 3, "message": "no such file"})
    found = hangar.sql(
        "select status, metadata, error_details from public.user_fly_app_events where event_type = 'command_run' order by seq"
    )
    assert [each["status"] for each in found] == ["intent", "failed"]
    assert {each["metadata"]["command_id"] for each in found} == {str(command)}
    assert (found[1]["metadata"]["exit_code"], found[1]["error_details"]) == (3, "no such file")
