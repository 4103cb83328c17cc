"""The caps on apps and cost: which apps count, at which price, and what waits for them. Each guard alone."""

import pytest

from tests.postgres.app_rows import ago, ask, change, each, put, read, set_settings

NEW = {"status": "provisioning", "observed_generation": None, "machine_state": None, "next_attempt_at": ago(0)}
INTENT = {"id": "1", "action": "create_app", "at": "2026-11-22T10:00:00Z"}


def count(hangar, also=None):
    [row] = hangar.sql("select * from hangar.count_apps(%s)", also)
    return row


@pytest.mark.parametrize(
    "exists",
    [
        {"deployed_at": ago(0)},
        {"open_intent": INTENT},
        {"machine_id": "m1"},
        {"secrets_version": 1},
        {"create_unknown_at": ago(0)},
    ],
)
def test_every_app_that_exists_or_may_exist_counts(inside, exists):
    put(inside, **{**NEW, **exists})
    assert (count(inside)["apps"], count(inside)["cost_usd"], count(inside)["new_waiting"]) == (1, 5, 0)


def test_a_row_whose_app_was_never_begun_waits_and_does_not_count(inside):
    row = put(inside, **NEW)
    found = count(inside)
    assert (found["apps"], found["cost_usd"], found["new_waiting"], found["highest_waiting_usd"]) == (0, None, 1, 5)
    found = count(inside, row)
    assert (found["apps"], found["cost_usd"], found["new_waiting"]) == (1, 5, 0)


@pytest.mark.parametrize(
    "changed",
    [{"next_attempt_at": None}, {"desired_state": "absent"}, {"status": "deleted", "deleted_at": ago(0)}],
)
def test_what_nobody_works_on_does_not_wait(inside, changed):
    put(inside, **{**NEW, **changed})
    assert (count(inside)["new_waiting"], count(inside)["highest_waiting_usd"]) == (0, None)


def test_an_app_costs_what_was_admitted_and_the_one_that_asks_what_it_desires(inside):
    row = put(inside, machine_id="m1", admitted_cost_usd=5, monthly_cost_estimate_usd=12, next_attempt_at=ago(0))
    put(inside, machine_id="m2", admitted_cost_usd=None, monthly_cost_estimate_usd=3)
    found = count(inside)
    assert (found["cost_usd"], found["dearer_waiting"], found["highest_waiting_usd"]) == (8, 1, 7)
    assert count(inside, row)["cost_usd"] == 15


@pytest.mark.parametrize(
    ("changed", "admitted"),
    [({}, 12), ({"generation": 2}, 5), ({"desired_state": "absent"}, 5)],
)
def test_a_row_that_has_converged_costs_what_it_desires(inside, changed, admitted):
    row = put(inside, machine_id="m1", admitted_cost_usd=5)
    change(inside, row, monthly_cost_estimate_usd=12, **changed)
    assert read(inside, row)["admitted_cost_usd"] == admitted


def check(hangar, row, action):
    return hangar.one(
        "select hangar.check_caps(a, g, %s) from user_fly_apps a cross join hangar.settings g where a.id = %s",
        action,
        row,
    )


@pytest.mark.parametrize(("most", "refused"), [(1, "max_apps"), (2, None), (None, None)])
def test_the_last_app_that_a_cap_admits(inside, most, refused):
    put(inside, machine_id="m1")
    set_settings(inside, max_apps=most)
    row = put(inside, **NEW)
    assert check(inside, row, "create_app") == refused
    assert read(inside, row)["admitted_cost_usd"] == (None if refused else 5)


@pytest.mark.parametrize(("most", "refused"), [("9.99", "max_cost"), ("10", None)])
def test_the_last_dollar_that_a_cap_admits(inside, most, refused):
    put(inside, machine_id="m1")
    set_settings(inside, max_monthly_cost_usd=most)
    assert check(inside, put(inside, **NEW), "create_app") == refused


DEARER = [
    ("update_machine", 5, 6, "max_cost"),
    ("create_machine", 5, 6, "max_cost"),
    ("create_machine", None, 5, "max_cost"),  # an app that was never admitted
    ("update_machine", 6, 6, None),
    ("update_machine", 7, 6, None),
    ("start_machine", 5, 6, None),
]


def test_only_what_makes_an_app_dearer_is_refused(inside):
    set_settings(inside, max_monthly_cost_usd=1)
    for action, admitted, wants, refused in each(inside, DEARER):
        row = put(inside, machine_id="m1", generation=2, admitted_cost_usd=admitted, monthly_cost_estimate_usd=wants)
        assert check(inside, row, action) == refused, (action, admitted)


def test_an_app_that_was_never_admitted_is_a_new_one_for_the_caps(inside):
    set_settings(inside, max_apps=0)
    assert check(inside, put(inside, **NEW), "create_machine") == "max_apps"


def test_a_cap_on_apps_holds_back_no_app_that_exists(inside):
    set_settings(inside, max_apps=0)
    row = put(inside, machine_id="m1", generation=2, admitted_cost_usd=5, monthly_cost_estimate_usd=6)
    assert check(inside, row, "update_machine") is None
    assert read(inside, row)["admitted_cost_usd"] == 6


IN_FORCE = [
    ({"max_apps": 1}, False, "max_apps", True),
    ({"max_apps": 2}, False, "max_apps", False),
    ({"max_apps": 0}, True, "max_apps", False),  # nobody waits for an app
    ({"max_monthly_cost_usd": "9.99"}, False, "max_cost", True),
    ({"max_monthly_cost_usd": "10"}, False, "max_cost", False),
    ({"max_monthly_cost_usd": "6.99"}, True, "max_cost", True),
    ({"max_monthly_cost_usd": "7"}, True, "max_cost", False),
    ({}, False, "max_cost", False),
]


def test_a_cap_is_in_force_while_it_holds_back_an_app(inside):
    for settings, dearer, cap, in_force in each(inside, IN_FORCE):
        if settings:
            set_settings(inside, **settings)
        if dearer:
            wants = {"generation": 2, "monthly_cost_estimate_usd": 7, "next_attempt_at": ago(0)}
            put(inside, machine_id="m1", admitted_cost_usd=5, **wants)
        else:
            put(inside, machine_id="m1")
            put(inside, **NEW)
        assert inside.one("select hangar.is_cap_in_force(%s)", cap) is in_force, (settings, dearer)


def test_the_caps_are_asked_before_each_action_that_may_cost_more(inside, act):
    row = put(inside, **NEW)
    installation = inside.one("select installation_id::text from hangar.settings")
    change(inside, row, network=inside.one("select hangar.network_name(%s::uuid, %s)", installation, row))
    set_settings(inside, max_apps=0)
    intents = {action: act.intent(action, installation_id=installation) for action in ("create_app", "set_secrets")}
    assert {action: ask(inside, "check_intent", row, intent) for action, intent in intents.items()} == {
        "create_app": "max_apps",
        "set_secrets": None,
    }
