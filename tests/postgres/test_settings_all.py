"""Every setting that may be changed is changed: found from the catalog, so that a new column cannot be forgotten."""

import psycopg
import pytest
from psycopg.errors import InvalidParameterValue, LockNotAvailable

OTHER = {"boolean": True, "integer": 7, "numeric": 0.5}
OWN = {
    "fly_org_slug": "other",
    "app_prefix": "other",
    "default_region": "fra",
    "default_image": "app@sha256:2",
    "retry_base_s": 1.5,
    "retry_cap_s": 900.5,
    "lease_s": 90.5,
    "sweep_lease_s": 60.5,
    "host_loss_share": 0.25,
    "events_retention_days": 30,
    "samples_retention_days": 100,
    "closed_rows_retention_days": 30,
}
NOT_BY_THE_PROCEDURE = {"only_row", "installation_id", "updated_at", "brake_released_at", "renew_tokens_from"}


def set_settings(hangar, via=None, **changes):
    return hangar.rpc("fly_set_settings", via=via, changes=changes, actor="test")


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
    wanted |= {"live": False}
    assert None not in wanted.values(), wanted
    answer = set_settings(hangar, **wanted)
    assert set(answer["changed"]) == wanted.keys()
    stored = hangar.sql("select to_jsonb(s) as s from hangar.settings s")[0]["s"]
    assert {key: stored[key] for key in wanted} == wanted
    assert {rule["setting"] for rule in hangar.sql("select setting from hangar.setting_rules()")} == wanted.keys()


NO_NUMBERS = (-1, "NaN", "Infinity", "many")
RETENTIONS = ("events_retention_days", "samples_retention_days", "closed_rows_retention_days")
LIMITS = ("max_apps", "max_monthly_cost_usd", *RETENTIONS)  # may be null: no limit


def numbers(hangar):
    return hangar.sql("select * from hangar.setting_rules() where lowest is not null")


def test_no_number_can_be_set_to_nonsense(hangar):
    """I5: what is no bound is refused, by the procedure and by plain SQL alike, and the bound stays."""
    before = hangar.sql("select * from hangar.settings")
    refusals = (psycopg.errors.IntegrityError, psycopg.errors.DataError)
    for setting in (rule["setting"] for rule in numbers(hangar)):
        for nonsense in (*NO_NUMBERS, *(() if setting in LIMITS else (None,))):
            with pytest.raises(InvalidParameterValue, match=rf"^{setting} must be a .*, not "):
                set_settings(hangar, **{setting: nonsense})
            with pytest.raises(refusals):
                hangar.sql(f"update hangar.settings set {setting} = %s", nonsense)
    assert hangar.sql("select * from hangar.settings") == before


def test_the_range_that_is_shown_is_the_range_of_the_table(hangar):
    """Both bounds of every number are accepted by plain SQL and by the procedure, and what lies outside by neither."""
    for rule in numbers(hangar):
        setting, step = rule["setting"], 1 if rule["kind"] == "whole number" else 0.25
        for bound, outside in ((rule["lowest"], -step), (rule["highest"], step)):
            hangar.sql("update hangar.settings set retry_base_s = 1, retry_cap_s = 604800")
            hangar.sql(f"update hangar.settings set {setting} = %s", bound)
            if not setting.startswith("retry_"):
                set_settings(hangar, **{setting: str(bound)})
            beyond = float(bound) + float(outside)
            with pytest.raises((psycopg.errors.IntegrityError, psycopg.errors.DataError)):
                hangar.sql(f"update hangar.settings set {setting} = %s", beyond)
            with pytest.raises(InvalidParameterValue, match=f"from {rule['lowest']} to {rule['highest']}"):
                set_settings(hangar, **{setting: beyond})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"brake_floor": "abc"}, 'brake_floor must be a whole number from 0 to 1000000, not "abc"'),
        ({"brake_floor": 1.5}, "brake_floor must be a whole number from 0 to 1000000, not 1.5"),
        ({"brake_floor": True}, "brake_floor must be a whole number from 0 to 1000000, not true"),
        ({"brake_floor": [1]}, "brake_floor must be a whole number from 0 to 1000000, not [1]"),
        ({"brake_share": 1.01}, "brake_share must be a number from 0 to 1, not 1.01"),
        ({"retry_base_s": "-5"}, 'retry_base_s must be a number from 1 to 604800, not "-5"'),
        ({"retry_base_s": "1e400"}, 'retry_base_s must be a number from 1 to 604800, not "1e400"'),
        ({"lease_s": 1}, "lease_s must be a number from 90 to 7200, not 1"),
        (
            {"max_apps": "9" * 30},
            f'max_apps must be a whole number from 0 to 1000000, or null for no limit, not "{"9" * 30}"',
        ),
        ({"paused": "maybe"}, 'paused must be true or false, not "maybe"'),
        ({"paused": None}, "paused must be true or false, not null"),
        ({"paused": 1}, "paused must be true or false, not 1"),
        ({"fly_org_slug": ""}, 'fly_org_slug must be the slug of a Fly organisation, like my-org, not ""'),
        ({"fly_org_slug": 5}, "fly_org_slug must be the slug of a Fly organisation, like my-org, not 5"),
        (
            {"default_region": "Singapore"},
            (
                "default_region must be a region of Fly or a list in order of preference, like sin or sin,nrt, "
                'not "Singapore"'
            ),
        ),
        (
            {"default_image": "nonsense"},
            'default_image must be an image with a tag or a digest, like registry.fly.io/my-app:v1, not "nonsense"',
        ),
        (
            {"default_image": "a b:1"},
            'default_image must be an image with a tag or a digest, like registry.fly.io/my-app:v1, not "a b:1"',
        ),
        ({"retry_cap_s": 5}, "retry_cap_s (5) must be at least retry_base_s (300)"),
        (
            {"lease_s": 1, "paused": "x"},
            'lease_s must be a number from 90 to 7200, not 1; paused must be true or false, not "x"',
        ),
        ({"installation_id": "x"}, "unknown settings key: installation_id"),
        ({"Paused": True, "x": 1}, "unknown settings key: Paused, x"),
    ],
)
def test_a_refused_value_is_named_with_what_is_allowed(hangar, changes, sentence):
    """One plain sentence with the setting, the allowed values and what was given; nothing is changed."""
    before = hangar.sql("select * from hangar.settings")
    with pytest.raises(InvalidParameterValue) as refused:
        set_settings(hangar, live=False, **changes)
    assert refused.value.diag.message_primary == sentence
    assert hangar.sql("select * from hangar.settings") == before


@pytest.mark.parametrize(
    "image",
    [
        "nginx:1",
        "registry.fly.io/my-app:deployment-01ABC",
        "ghcr.io:443/a/b_c:v1.2",
        "a/b@sha256:0f",
        "a/b:v1@sha256:0f",
        "localhost:5000/a__b--c:v1",
    ],
)
def test_images_with_a_tag_or_a_digest_are_accepted(hangar, image):
    assert set_settings(hangar, default_image=image)["settings"]["default_image"] == image


@pytest.mark.parametrize(
    "image",
    [
        "registry.fly.io/VYX:1",
        "https://registry.fly.io/vyx:v1",
        "registry.fly.io//vyx:v1",
        "registry.fly.io/vyx/:v1",
        "registry.fly.io:https/vyx:v1",
        "vyx@sha256:AB",
        "vyx@sha256:",
        "vyx:v1@sha256:xyz",
        "vyx-:v1",
        "vyx:.v1",
        "vyx:v1 ",
        "vyx:v1\n",
    ],
)
def test_what_names_no_image_is_refused(hangar, image):
    with pytest.raises(InvalidParameterValue, match="must be an image with a tag or a digest"):
        set_settings(hangar, default_image=image)


def test_numbers_and_booleans_may_come_as_text(hangar):
    """As a command line has them; a value that is set already is no change and no event."""
    told = set_settings(hangar, max_apps="7", max_monthly_cost_usd="10.50", deletes_paused="True", brake_floor="20")
    assert told["changed"] == ["deletes_paused", "max_apps", "max_monthly_cost_usd"]
    events = "select metadata from user_fly_app_events where event_type = 'settings_changed' order by seq desc limit 1"
    assert hangar.one(events)["changes"].keys() == {"deletes_paused", "max_apps", "max_monthly_cost_usd"}
    assert set_settings(hangar, max_apps="7", deletes_paused=True)["changed"] == []


def test_what_the_caller_saw_is_compared(hangar):
    """D1: compare-and-set. A value that somebody else has changed is named, and nothing is written."""
    hangar.rpc(
        "fly_set_settings", changes={"max_apps": 5}, actor="a", expected={"max_apps": None, "brake_share": "0.050"}
    )
    with pytest.raises(psycopg.Error, match="nothing was changed: max_apps is 5 by now, not null") as refused:
        hangar.rpc("fly_set_settings", changes={"max_apps": 9, "paused": True}, actor="b", expected={"max_apps": None})
    assert refused.value.sqlstate == "PT409"
    assert hangar.sql("select max_apps, paused from hangar.settings") == [{"max_apps": 5, "paused": False}]
    with pytest.raises(InvalidParameterValue, match="unknown p_expected key: no_such"):
        hangar.rpc("fly_set_settings", changes={}, actor="b", expected={"no_such": 1})


def test_a_change_in_the_middle_of_another_change_is_kept(hangar):
    """D1: Alice pauses and has not committed; Bob's change of another setting waits and then leaves hers as it is."""
    alice, bob = hangar.worker(), hangar.worker()
    with alice.transaction():
        hangar.rpc("fly_set_paused", via=alice, paused=True, actor="alice")
        with pytest.raises(LockNotAvailable):
            set_settings(hangar, via=bob, max_apps=5)
    set_settings(hangar, via=bob, max_apps=5)
    assert hangar.sql("select max_apps, paused from hangar.settings") == [{"max_apps": 5, "paused": True}]
