"""Every setting that may be changed is changed: found from the catalog, so that a new column cannot be forgotten."""

import psycopg
import pytest

OTHER = {"boolean": True, "integer": 7, "numeric": 0.5}
OWN = {"fly_org_slug": "other", "app_prefix": "other", "default_region": "fra", "default_image": "app@sha256:2"}
NOT_BY_THE_PROCEDURE = {"only_row", "installation_id", "updated_at", "brake_released_at"}


def test_every_setting_can_be_set(hangar):
    columns = hangar.sql(
        "select column_name, data_type from information_schema.columns"
        " where table_schema = 'hangar' and table_name = 'settings' order by ordinal_position"
    )
    wanted = {
        each["column_name"]: OWN.get(each["column_name"], OTHER.get(each["data_type"]))
        for each in columns
        if each["column_name"] not in NOT_BY_THE_PROCEDURE
    }
    wanted |= {"live": False, "retry_cap_s": 900.5}
    assert None not in wanted.values(), wanted
    answer = hangar.rpc("fly_set_settings", changes=wanted, actor="test")
    assert set(answer["changed"]) == wanted.keys()
    stored = hangar.sql("select to_jsonb(s) as s from hangar.settings s")[0]["s"]
    assert {key: stored[key] for key in wanted} == wanted


NO_NUMBERS = (-1, "NaN", "Infinity", "many")
LIMITS = ("max_apps", "max_monthly_cost_usd")  # may be null: no limit


def numbers(hangar):
    return hangar.sql(
        "select column_name from information_schema.columns where table_schema = 'hangar' and table_name = 'settings'"
        " and data_type in ('integer', 'numeric')"
    )


def test_no_number_can_be_set_to_nonsense(hangar):
    """I5: what is no bound is refused, by the procedure and by plain SQL alike, and the bound stays."""
    before = hangar.sql("select * from hangar.settings")
    refusals = (psycopg.errors.IntegrityError, psycopg.errors.DataError)
    for [setting] in (each.values() for each in numbers(hangar)):
        for nonsense in (*NO_NUMBERS, *(() if setting in LIMITS else (None,))):
            with pytest.raises(refusals):
                hangar.rpc("fly_set_settings", changes={setting: nonsense}, actor="test")
            with pytest.raises(refusals):
                hangar.sql(f"update hangar.settings set {setting} = %s", nonsense)
    assert hangar.sql("select * from hangar.settings") == before


def test_a_share_above_the_whole_is_refused(hangar):
    with pytest.raises(psycopg.errors.CheckViolation):
        hangar.rpc("fly_set_settings", changes={"brake_share": 1.01}, actor="test")
