"""Every setting that may be changed is changed: found from the catalog, so that a new column cannot be forgotten."""

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
