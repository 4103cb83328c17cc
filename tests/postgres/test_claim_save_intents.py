"""Which intents are refused, the brake, and the successor of a closed row."""

import pytest

pytestmark = pytest.mark.every_postgres


def leaving(hangar):
    """A user whose app ran and who has left; the row, leased."""
    user = hangar.user("pro")
    hangar.converge(user)
    hangar.subscribe(user, tier="free")
    return user, hangar.lease(user)


@pytest.mark.parametrize("action", ["create_app", "start_machine", "delete_app"])
def test_paused_means_no_write_at_all(hangar, act, action):
    """The intent is not stored; the rest of the save is."""
    _, row = leaving(hangar)
    hangar.rpc("fly_set_paused", paused=True, actor="test")
    intent = act.intent(action)
    answer = hangar.save(row, events=[intent], machine_state="stopped")
    assert answer["refused"] == "paused"
    assert (answer["row"]["open_intent"], answer["row"]["machine_state"]) == (None, "stopped")
    assert hangar.one("select count(*) from user_fly_app_events where id = %s", intent["id"]) == 0


def test_deletes_paused_stops_destroying_alone(hangar, act):
    """Repair and provisioning go on."""
    _, row = leaving(hangar)
    hangar.sql("update hangar.settings set deletes_paused = true")
    assert hangar.save(row, events=[act.intent("delete_app", purpose="deprovision")])["refused"] == "deletes_paused"
    assert hangar.save(row, events=[act.intent("destroy_machine", purpose="replace")])["refused"] == "deletes_paused"
    assert hangar.save(row, events=[act.intent("stop_machine")])["refused"] is None


@pytest.mark.parametrize("action", ["stop_machine", "destroy_machine", "delete_app"])
def test_entitled_user_is_never_deprovisioned(hangar, act, action):
    """The last check is under the lock: an entitled user's app stays, and the row wants it again."""
    hangar.deafen()
    user, row = leaving(hangar)
    assert row["desired_state"] == "absent"
    hangar.subscribe(user, tier="pro")  # and no drain has seen it yet
    answer = hangar.save(row, events=[act.intent(action, purpose="deprovision")], status="deprovisioning")
    assert answer["refused"] == "entitled"
    assert (answer["generation_moved"], answer["row"]["desired_state"], answer["row"]["status"]) == (
        True,
        "present",
        "provisioning",
    )
    assert int(answer["row"]["generation"]) == int(row["generation"]) + 1
    assert hangar.save(answer["row"], events=[act.intent("start_machine")])["refused"] is None


def test_replacing_needs_no_unentitled_user(hangar, act):
    """A failed machine of a paying user may be destroyed and created again."""
    user = hangar.user("pro")
    hangar.converge(user)
    assert hangar.save(hangar.lease(user), events=[act.intent("destroy_machine", purpose="replace")])["refused"] is None


def test_cloned_database_writes_nothing(hangar, act):
    """Rows that carry another installation's proof, and workers of another installation, are refused."""
    _, row = leaving(hangar)
    foreign = act.intent("create_app", installation_id="00000000-0000-4000-8000-000000000000")
    assert hangar.save(row, events=[foreign])["refused"] == "installation"
    ours = act.intent("stop_machine", installation_id=str(hangar.one("select installation_id from hangar.settings")))
    assert hangar.save(row, events=[ours])["refused"] is None
    hangar.sql("update hangar.settings set installation_id = gen_random_uuid()")
    assert hangar.save(row, events=[act.intent("create_app")])["refused"] == "installation"


def test_brake_counts_an_app_once(hangar, act):
    """Two in an hour here: another call about the same app is no second app, a third app is refused, with one alert."""
    hangar.sql("update hangar.settings set brake_floor = 2, brake_share = 0")
    rows = [leaving(hangar)[1] for _ in range(4)]
    for row in rows[:2]:
        for action in ("destroy_machine", "delete_app"):
            assert hangar.save(row, events=[act.intent(action, purpose="deprovision")])["refused"] is None
    for row in rows[2:]:
        assert hangar.save(row, events=[act.intent("delete_app", purpose="deprovision")])["refused"] == "brake"
    assert hangar.one("select count(*) from user_fly_app_events where event_type = 'brake_tripped'") == 1
    [alert] = hangar.rpc("fly_take_alerts")["alerts"]
    assert (alert["kind"], alert["metadata"]["destroyed_last_hour"], alert["metadata"]["most"]) == ("brake", 2, "2.00")
    hangar.shift_clock(3601)
    row = hangar.lease(rows[2]["user_id"])
    assert hangar.save(row, events=[act.intent("delete_app", purpose="deprovision")])["refused"] is None


def test_brake_grows_with_the_fleet(hangar, act):
    """A share of the live rows, where that is more than the floor."""
    hangar.sql("update hangar.settings set brake_floor = 0, brake_share = 0.5")
    rows = [leaving(hangar)[1] for _ in range(4)]
    refused = [hangar.save(row, events=[act.intent("delete_app", purpose="deprovision")])["refused"] for row in rows]
    assert refused == [None, None, "brake", "brake"]


def test_successor_when_entitled_again(hangar, act):
    """After the destroy intent is out a returning user gets a new row in the very save that closes the old one."""
    user, row = leaving(hangar)
    hangar.save(row, events=[act.intent("delete_app", purpose="deprovision")])
    hangar.subscribe(user, tier="elite")
    answer = hangar.save(row, deleted=True)
    assert answer["row"]["status"] == "deleted"
    new = hangar.live_row(user)
    assert answer["successor"] == str(new["id"])
    assert (new["tier"], new["name_seq"], new["status"]) == ("elite", 1, "provisioning")
    assert new["next_attempt_at"] is not None
    assert new["fly_app_name"] != row["fly_app_name"]


def test_successor_of_an_unknown_tier(hangar):
    """Unknown means unchanged: a user who was entitled when the plan vanished keeps the app."""
    user, row = leaving(hangar)
    hangar.subscribe(user, tier="pro")
    hangar.subscribe(user, tier="elite")
    hangar.sql("delete from fly_plans where tier = 'elite'")
    assert hangar.save(row, deleted=True)["successor"] == str(hangar.live_row(user)["id"])


def test_an_intent_whose_outcome_came_after_the_lease_has_that_outcome_alone(hangar, act):
    """The worker recorded that the call succeeded, but its lease had just ended: the next claim does not say unknown."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    created = act.intent("create_app")
    row = hangar.save(row, events=[created])["row"]
    hangar.sql("update user_fly_apps set lease_expires_at = now() - interval '1 s' where user_id = %s", user)
    assert hangar.save(row, events=[act.outcome(created, "succeeded")]) is None
    claimed = hangar.lease(user)
    assert claimed["open_intent"] is None
    assert claimed["create_unknown_at"] is not None  # the row does not know what was created
    query = "select status from user_fly_app_events where metadata ->> 'intent_id' = %s"
    assert [each["status"] for each in hangar.sql(query, created["id"])] == ["succeeded"]
