"""The alert about a cap stays open for as long as the cap holds back an app."""

import pytest

CAPS = {"max_apps": ("max_apps", 1, 2), "max_cost": ("max_monthly_cost_usd", 6, 12)}


def sweep(hangar, at_s):
    """A whole sweep, this many seconds from the start of the test."""
    hangar.shift_clock(at_s)
    token = hangar.rpc("fly_sweep_claim")["token"]
    assert hangar.rpc("fly_sweep_finish", name="fleet", token=token, report={}) == {"ok": True}


def open_alerts(hangar):
    return [
        row["kind"] for row in hangar.sql("select kind from hangar.alerts where resolved_at is null and key = 'fleet'")
    ]


def refuse(hangar, act, user, cap):
    """A worker wants to create this user's app, is refused and raises the alert, as `work` does."""
    row = hangar.lease(user)
    refused = hangar.save(row, release=True, next_attempt_in_s=300, events=[act.intent("create_app")])["refused"]
    assert refused == cap
    hangar.rpc("fly_raise_alert", kind=cap, key="fleet", message="refused")


@pytest.fixture(params=CAPS)
def held_back(request, hangar, act):
    """One app runs and this cap refuses another user: the alert, the setting, a value with room for both, the waiting user."""
    setting, limit, enough = CAPS[request.param]
    hangar.converge(hangar.user("pro"))
    waiting = hangar.user("pro")
    hangar.rpc("fly_set_settings", changes={setting: limit}, actor="test")
    refuse(hangar, act, waiting, request.param)
    return request.param, setting, enough, waiting


def test_it_stays_open_over_sweeps_in_which_nothing_was_tried(hangar, held_back):
    """A refused app waits five minutes, so most sweeps do not see the refusal again; it holds nevertheless."""
    cap, setting, enough, _ = held_back
    for at_s in (60, 240, 600):
        sweep(hangar, at_s)
        assert open_alerts(hangar) == [cap]
    hangar.rpc("fly_set_settings", changes={setting: enough}, actor="test")
    sweep(hangar, 900)
    assert open_alerts(hangar) == []


def test_the_status_of_a_waiting_user_names_the_cap(hangar, held_back):
    """Only while it holds, and only for the user whom it holds back."""
    cap, setting, enough, waiting = held_back
    running = hangar.user("free")
    assert hangar.rpc("fly_user_status", user=waiting)["cap"] == cap
    assert hangar.rpc("fly_user_status", user=running)["cap"] is None
    hangar.rpc("fly_set_settings", changes={setting: enough}, actor="test")
    assert hangar.rpc("fly_user_status", user=waiting)["cap"] is None


def test_it_ends_when_no_app_waits_any_more(hangar, held_back):
    """The waiting user leaves. The cap is as low as before but blocks no user."""
    _, _, _, waiting = held_back
    hangar.subscribe(waiting, tier="free")
    sweep(hangar, 60)
    assert open_alerts(hangar) == []


def test_it_ends_when_only_an_operator_can_continue(hangar, held_back):
    """A row that has no next attempt fails for a reason of its own."""
    _, _, _, waiting = held_back
    hangar.save(hangar.lease(waiting), release=True, status="error", error_code="image", next_attempt_in_s=None)
    sweep(hangar, 60)
    assert open_alerts(hangar) == []
