"""Real sessions change settings at the same time: no change is lost."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

ROUNDS = 60


def test_no_change_of_another_setting_is_lost(hangar):
    """D1: four operators change one setting each, over and over; what an operator has set stays until they change it."""
    settings = ("max_apps", "brake_floor", "incident_floor", "brake_lost")

    def operate(setting):
        session, lost = hangar.worker(), 0
        for value in range(1, ROUNDS + 1):
            hangar.rpc("fly_set_settings", via=session, changes={setting: value}, actor=setting)
            stored = session.execute(f"select {setting} from hangar.settings").fetchone()
            lost += stored != (value,)
        return lost

    with ThreadPoolExecutor(len(settings)) as pool:
        assert list(pool.map(operate, settings)) == [0, 0, 0, 0]
    events = hangar.sql("select metadata from user_fly_app_events where event_type = 'settings_changed'")
    assert sum("max_apps" in event["metadata"]["changes"] for event in events) == ROUNDS


def test_compare_and_set_lets_exactly_one_of_two_win(hangar):
    """D1: three operators count one setting up, each from the value they saw: no step is lost or done twice."""
    hangar.rpc("fly_set_settings", changes={"max_apps": 0}, actor="test")

    def count_up(name):
        session, steps = hangar.worker(), 0
        while steps < ROUNDS // 3:
            [seen] = session.execute("select max_apps from hangar.settings").fetchone()
            change = {"changes": {"max_apps": seen + 1}, "expected": {"max_apps": seen}}
            try:
                hangar.rpc("fly_set_settings", via=session, actor=name, **change)
                steps += 1
            except psycopg.Error as refused:
                if refused.sqlstate != "PT409":
                    raise
        return steps

    with ThreadPoolExecutor(3) as pool:
        steps = sum(pool.map(count_up, "abc"))
    assert hangar.one("select max_apps from hangar.settings") == steps


@pytest.mark.parametrize("paused", [True, False])
def test_the_switch_never_waits_for_a_row(hangar, paused):
    """D7: an idle transaction that holds an app's row does not keep `hangar resume` or `hangar pause` from committing."""
    held, free = hangar.user("pro"), hangar.user("pro")
    hangar.rpc("fly_set_paused", paused=not paused, actor="test")
    hangar.sql("update user_fly_apps set next_attempt_at = hangar.now() + interval '1 minute'")
    idle = hangar.host()
    with idle.transaction():
        idle.execute("select 1 from user_fly_apps where user_id = %s for update", (held,))
        assert hangar.rpc("fly_set_paused", paused=paused, actor="test") == {
            "paused": paused,
            "changed": True,
            "unrecorded": None,
        }
    assert hangar.one("select paused from hangar.settings") is paused
    due = hangar.sql("select user_id from user_fly_apps where next_attempt_at <= hangar.now()")
    assert due == ([] if paused else [{"user_id": free}])


def test_a_resume_makes_five_hundred_apps_due(hangar):
    """D7: those that would be due next; the others keep their own time, so that the statement stays short."""
    hangar.sql(
        """insert into user_fly_apps (user_id, fly_app_name, fly_org_slug, region, docker_image, network, next_attempt_at)
           select gen_random_uuid(), 'app-' || n, 'test', 'iad', 'app:1', 'net-' || n, hangar.now() + n * interval '1 second'
             from generate_series(1, 1200) n"""
    )
    hangar.rpc("fly_set_paused", paused=True, actor="test")
    hangar.rpc("fly_set_paused", paused=False, actor="test")
    due = hangar.sql("select fly_app_name from user_fly_apps where next_attempt_at <= hangar.now()")
    assert {row["fly_app_name"] for row in due} == {f"app-{number}" for number in range(1, 501)}
