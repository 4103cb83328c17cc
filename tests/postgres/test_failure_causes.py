"""Which apps share the alert about a failure, what it says, and when it ends. Each guard alone."""

import json

import pytest

from tests.postgres.app_rows import ago, ask, change, each, open_alert, open_alerts, put, read, set_settings

FAILING = {"status": "error", "error_message": "Fly said no", "next_attempt_at": ago(-60)}
CAUSES = {
    "auth": "auth",
    "unsupported": "unsupported",
    "refused": "refused",
    "region_full": "region_full/iad",
    "host": "region_full/iad",
    "volume": "region_full/iad",
    "image": "image/registry.example.test/app:v1",
    "size": "size/pro",
    "transient": "fly_unavailable",
    "outcome_unknown": "fly_unavailable",
    "unavailable": "fly_unavailable",
    "rate_limited": "fly_unavailable",
    "not_fly": "fly_unavailable",
    "start_failed": None,
    "not_owned": None,
    None: None,
}


def test_which_errors_have_a_cause_that_apps_share(inside):
    row = put(inside, tier="pro")
    found = {
        code: inside.one("select hangar.alert_cause(%s, a) from user_fly_apps a where id = %s", code, row)
        for code in CAUSES
    }
    assert found == CAUSES
    change(inside, row, tier=None)
    assert (
        inside.one("select hangar.alert_cause('size', a) from user_fly_apps a where id = %s", row)
        == "size/shared-2x-512"
    )


def fail(hangar, code="start_failed", **columns):
    return put(hangar, **{**FAILING, "error_code": code, **columns})


def failing(hangar, key):
    return {row["id"] for row in hangar.sql("select id from hangar.list_failing(%s)", key)}


def keys(hangar):
    return set(hangar.one("select hangar.list_failure_keys()"))


@pytest.mark.parametrize("kind", ["provision_failed", "deprovision_failed"])
def test_an_app_belongs_to_its_cause_or_to_itself_or_to_its_code(inside, kind):
    """One that has an alert of its own does not belong to that of its code. Both ways of looking say the same."""
    full, alone, told, over = fail(inside, "host"), fail(inside), fail(inside), fail(inside)
    open_alert(inside, kind, str(told))
    open_alert(inside, kind, str(over), resolved_at=ago(1))
    open_alert(inside, "unhealthy", str(alone))
    fail(inside, status="deleted", deleted_at=ago(0))
    fail(inside, "auth", status="provisioning")
    assert failing(inside, "region_full/iad") == {full}
    assert failing(inside, "start_failed") == {alone, over}
    assert [failing(inside, str(row)) for row in (full, alone, told)] == [set(), {alone}, {told}]
    assert failing(inside, "auth") == set()
    assert keys(inside) == {"region_full/iad", "start_failed", str(alone), str(told), str(over)}


def choose(hangar, row):
    return ask(hangar, "choose_failure_key", row)


@pytest.mark.parametrize(("apps", "is_shared"), [(5, False), (6, True)])
def test_the_sixth_app_with_an_error_shares_the_alert_of_its_code(inside, apps, is_shared):
    rows = [fail(inside) for _ in range(apps)]
    fail(inside, status="deleted", deleted_at=ago(0))
    fail(inside, "not_owned")
    fail(inside, status="provisioning")
    assert choose(inside, rows[-1]) == ("start_failed" if is_shared else str(rows[-1]))


def test_an_alert_stays_what_it_is_while_it_is_open(inside):
    """One app keeps its own beside many, and joins that of the code while that one is open."""
    rows = [fail(inside) for _ in range(6)]
    open_alert(inside, "provision_failed", str(rows[0]))
    assert [choose(inside, row) for row in rows[:2]] == [str(rows[0]), "start_failed"]
    for row in rows[2:]:
        change(inside, row, status="active", error_code=None)
    assert choose(inside, rows[1]) == str(rows[1])
    open_alert(inside, "deprovision_failed", "start_failed")
    assert choose(inside, rows[1]) == "start_failed"


def describe(hangar, key, row, since=None):
    return hangar.one("select hangar.describe_failure(%s, a, %s) from user_fly_apps a where id = %s", key, since, row)


def test_the_alert_of_one_app_says_what_failed_and_what_is_next(inside):
    row = fail(inside)
    message = describe(inside, str(row), row)["message"]
    assert message.startswith("Provisioning failed for user ")
    assert "Fly said no; the next attempt is at " in message
    change(inside, row, next_attempt_at=None, desired_state="absent")
    message = describe(inside, str(row), row)["message"]
    assert message.startswith("Deprovisioning failed for user ")
    assert message.endswith("Hangar does not retry it: an operator must act, then run `hangar retry USER`")


@pytest.mark.parametrize(
    ("stuck", "words"),
    [
        (0, "Hangar retries each of them."),
        (2, "Hangar retries them, except 2 that need an operator and `hangar retry USER`."),
        (5, "Hangar retries none of them: an operator must act, then run `hangar retry USER` for each."),
    ],
)
def test_the_alert_of_many_apps_names_three_and_the_one_that_failed_now_first(inside, stuck, words):
    rows = [
        fail(inside, "host", created_at=ago(600 - n), next_attempt_at=None if n < stuck else ago(-60)) for n in range(5)
    ]
    found = describe(inside, "region_full/iad", rows[4])
    named = [read(inside, row)["fly_app_name"] in found["message"] for row in rows]
    assert (named, found["apps"], len(found["users"])) == ([True, True, False, False, True], 5, 5)
    assert found["message"].startswith("5 apps fail for the same reason (region_full/iad) since ")
    assert " and 2 more. The latest error: Fly said no." in found["message"]
    assert words in found["message"]


def sync(hangar, row, moved=False, patch=None):
    hangar.sql(
        "select hangar.sync_failure_alert(a, %s, %s::jsonb) from user_fly_apps a where id = %s",
        moved,
        json.dumps(patch if patch is not None else {"status": "error"}),
        row,
    )


def test_a_failure_of_the_desired_state_before_is_not_told(inside):
    """The row has another desired state by now, and works on that."""
    row = fail(inside)
    sync(inside, row, moved=True)
    sync(inside, row, patch={"machine_state": "started"})
    assert open_alerts(inside) == []
    sync(inside, row)
    assert open_alerts(inside) == [("provision_failed", str(row))]


def test_the_same_cause_is_one_alert_for_creating_and_removing(inside):
    sync(inside, fail(inside, "host"))
    sync(inside, fail(inside, "host", desired_state="absent"))
    assert open_alerts(inside) == [("provision_failed", "region_full/iad")]
    [alert] = inside.sql("select times, metadata from hangar.alerts where kind = 'provision_failed'")
    assert (alert["times"], alert["metadata"]["apps"], alert["metadata"]["cause"]) == (2, 2, "region_full/iad")


ALREADY = [
    # an alert with the key of the app, whether the failure of a removal is told under its kind
    ({"kind": "provision_failed"}, True),
    ({"kind": "provision_failed", "resolved_at": ago(1)}, False),
    ({"kind": "crash_loop"}, False),
]


def test_only_an_open_alert_about_the_failure_keeps_its_kind(inside):
    for columns, keeps in each(inside, ALREADY):
        row = fail(inside, desired_state="absent")
        open_alert(inside, key=str(row), **columns)
        open_alert(inside, "provision_failed", "other")
        sync(inside, row)
        kinds = {kind for kind, key in open_alerts(inside) if key == str(row)} - {"crash_loop"}
        assert kinds == {"provision_failed" if keeps else "deprovision_failed"}, columns


def test_an_app_that_fails_for_another_reason_leaves_the_alert_of_the_former_one(inside):
    row = fail(inside)
    sync(inside, row)
    change(inside, row, error_code="host")
    sync(inside, row)
    assert open_alerts(inside) == [("provision_failed", "region_full/iad")]


@pytest.mark.parametrize(
    "ended",
    [{"status": "active", "error_code": None}, {"status": "deleted", "deleted_at": ago(0), "desired_state": "absent"}],
)
def test_an_alert_ends_with_its_last_app(inside, ended):
    """Also if the app is gone with its error."""
    rows = [fail(inside, "host"), fail(inside, "host"), fail(inside)]
    for row in rows:
        sync(inside, row)
    for row, left in zip(rows, (["region_full/iad", str(rows[2])], [str(rows[2])], []), strict=True):
        change(inside, row, **ended)
        sync(inside, row, patch={})
        assert sorted(key for _, key in open_alerts(inside)) == sorted(left)


def test_a_sweep_ends_what_no_save_has_ended(inside):
    rows = [fail(inside, "host"), fail(inside)]
    for row in rows:
        sync(inside, row)
        change(inside, row, status="active", error_code=None)
    inside.sql("select hangar.resolve_failure_alerts()")
    assert open_alerts(inside) == []


ORGANISATION = {"billing", "quota", "policy", "token", "org"}


def test_which_refusals_concern_the_whole_organisation(inside):
    codes = [*ORGANISATION, "auth", "image", "host", "transient", None]
    assert {code for code in codes if inside.one("select hangar.is_org_wide(%s)", code)} == ORGANISATION


def refuse(hangar, row, was=None, moved=False):
    status = read(hangar, row)["status"]
    hangar.sql(
        "select hangar.sync_alerts(a, %s, jsonb_build_object('status', %s::text), %s) from user_fly_apps a where id = %s",
        moved,
        status,
        was,
        row,
    )


def test_a_refusal_of_the_organisation_is_one_alert_and_replaces_that_of_the_app(inside):
    row = fail(inside)
    sync(inside, row)
    change(inside, row, error_code="billing")
    refuse(inside, row, "start_failed")
    assert open_alerts(inside) == [("fly_refused", "billing")]


def test_three_users_of_a_refusal_are_named(inside):
    rows = [fail(inside, "billing", fly_app_name=f"app-{n}") for n in range(3)]
    refuse(inside, rows[0])
    [alert] = inside.sql("select message, metadata from hangar.alerts where kind = 'fly_refused'")
    assert ("3 user(s)" in alert["message"], "…" in alert["message"]) == (True, False)
    fail(inside, "billing", fly_app_name="app-3")
    refuse(inside, rows[0])
    [alert] = inside.sql("select message, metadata from hangar.alerts where kind = 'fly_refused'")
    assert ("app-2), …" in alert["message"], alert["metadata"]["users"]) == (True, 4)


@pytest.mark.parametrize(
    ("after", "left", "is_due"),
    [
        ({"status": "active", "error_code": None}, [("fly_refused", "billing")], True),
        ({"error_code": "host"}, [("fly_refused", "billing"), ("provision_failed", "region_full/iad")], False),
        ({"status": "deleted", "deleted_at": ago(0)}, [("fly_refused", "billing")], False),
    ],
)
def test_when_fly_accepts_one_user_the_others_are_due(inside, after, left, is_due):
    """Not when a user fails for another reason or leaves. The alert stays until nobody has the cause."""
    rows = [fail(inside, "billing") for _ in range(2)]
    refuse(inside, rows[0])
    change(inside, rows[0], **after)
    refuse(inside, rows[0], "billing")
    assert open_alerts(inside, "fly_refused", "provision_failed") == left
    assert inside.one("select next_attempt_at <= hangar.now() from user_fly_apps where id = %s", rows[1]) is is_due
    change(inside, rows[1], status="active", error_code=None)
    refuse(inside, rows[1], "billing")
    assert open_alerts(inside, "fly_refused") == []


def test_a_deleted_row_ends_the_alert_of_its_refusal(inside):
    row = fail(inside, "billing")
    refuse(inside, row)
    change(inside, row, status="deleted", deleted_at=ago(0))
    refuse(inside, row, "billing")
    assert open_alerts(inside, "fly_refused") == []


RETRIED = [
    ({}, True),
    ({"error_code": "quota"}, False),
    ({"lease_token": "00000000-0000-0000-0000-000000000001", "lease_expires_at": ago(-60)}, False),
    ({"lease_token": "00000000-0000-0000-0000-000000000001", "lease_expires_at": ago(1)}, True),
    ({"status": "deleted", "deleted_at": ago(0)}, False),
]


def test_who_is_tried_again_when_fly_accepts(inside):
    for columns, is_due in each(inside, RETRIED):
        row = fail(
            inside, **{"code": "billing", **({"code": columns["error_code"]} if "error_code" in columns else {})}
        )
        change(
            inside, row, **{name: value for name, value in columns.items() if name != "error_code"} or {"tier": "pro"}
        )
        inside.sql("select hangar.retry_refused('billing')")
        assert inside.one("select next_attempt_at <= hangar.now() from user_fly_apps where id = %s", row) is is_due, (
            columns
        )


def test_fifty_are_tried_again_with_each_user_whom_fly_accepts(inside):
    """Those who would be tried first. One that waits for an operator keeps waiting."""
    rows = [fail(inside, "billing", next_attempt_at=ago(-60 - n)) for n in range(51)]
    waits = fail(inside, "billing", next_attempt_at=None)
    inside.sql("select hangar.retry_refused('billing')")
    due = {row["id"] for row in inside.sql("select id from user_fly_apps where next_attempt_at <= hangar.now()")}
    assert due == set(rows[:50])
    assert read(inside, waits)["next_attempt_at"] is None


def record(hangar, code, message=None):
    return hangar.one("select public.fly_record_refusal(%s, %s) ->> 'org_wide'", code, message) == "true"


def test_a_refused_listing_keeps_the_alert_open_and_an_accepted_one_frees_everybody(inside):
    row = fail(inside, "billing")
    assert record(inside, "billing", "pay first")
    assert inside.one("select metadata ->> 'listing' from hangar.alerts where kind = 'fly_refused'") == "pay first"
    change(inside, row, status="active", error_code=None)
    refuse(inside, row, "billing")
    assert open_alerts(inside, "fly_refused") == [("fly_refused", "billing")]
    other = fail(inside, "billing")
    assert not record(inside, None)
    assert inside.one("select next_attempt_at <= hangar.now() from user_fly_apps where id = %s", other)
    assert open_alerts(inside, "fly_refused") == [("fly_refused", "billing")]
    change(inside, other, status="active", error_code=None)
    inside.sql("select hangar.check_refusals()")
    assert open_alerts(inside, "fly_refused") == []


def test_another_refusal_of_the_listing_is_no_alert_of_the_organisation(inside):
    assert not record(inside, "transient", "no answer")
    assert open_alerts(inside) == []


def test_hangar_asks_again_at_least_as_often_as_the_alert_says(inside):
    set_settings(inside, retry_base_s=60, retry_cap_s=120)
    refuse(inside, fail(inside, "billing"))
    assert "at least every 00:05:00" in inside.one("select message from hangar.alerts where kind = 'fly_refused'")


def test_an_alert_that_is_seen_again_says_the_newest(inside):
    for text in ("first", "second"):
        inside.sql("select hangar.raise_alert('test', 'a', %s, jsonb_build_object('n', %s::text))", text, text)
        inside.sql("update hangar.alerts set seen_at = seen_at - interval '1 hour'")
    inside.sql("select hangar.raise_alert('test', 'a', 'second', '{\"n\": \"second\"}')")
    [alert] = inside.sql(
        "select *, seen_at > hangar.now() - interval '1 minute' as just_seen from hangar.alerts where kind = 'test'"
    )
    assert (alert["message"], alert["metadata"], alert["times"], alert["just_seen"]) == (
        "second",
        {"n": "second"},
        3,
        True,
    )
    assert (
        inside.one(
            "select count(*) from user_fly_app_events where event_type = 'alert_raised' and metadata ->> 'kind' = 'test'"
        )
        == 1
    )


AFTER_PASS = [
    # an alert that the pass has not seen, for how long, and whether the pass ends it
    ({"kind": "installation", "metadata": {"app": "x"}}, 50, False),
    ({"kind": "installation", "metadata": {"app": "x"}}, 70, True),
    ({"kind": "installation"}, 5, True),
    ({"kind": "orphans"}, 7, False),
    ({"kind": "orphans"}, 9, True),
    ({"kind": "orphan_look", "key": "a"}, 5, True),
    ({"kind": "max_apps"}, 5, True),
    ({"kind": "max_cost"}, 5, True),
    ({"kind": "incident"}, 500, False),
]


def test_what_a_pass_ends_that_it_has_not_seen_again(inside):
    for alert, silent_min, ends in each(inside, AFTER_PASS):
        open_alert(inside, **{**alert, "seen_at": ago(60 * silent_min)})
        inside.sql("select hangar.resolve_after_pass(hangar.now() - interval '1 minute')")
        assert (open_alerts(inside) == []) is ends, (alert, silent_min)


def test_a_pass_ends_nothing_that_it_has_seen(inside):
    for kind in ("max_apps", "orphan_look", "installation"):
        open_alert(inside, kind, "x", seen_at=ago(30))
    inside.sql("select hangar.resolve_after_pass(hangar.now() - interval '1 minute')")
    assert len(open_alerts(inside)) == 3
