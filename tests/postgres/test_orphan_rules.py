"""Which orphan may be removed, forgotten or returned, and what a sweep remembers of it. Each guard alone."""

import json
import uuid

import pytest

from tests.postgres.app_rows import ago, change, each, insert, log_action, open_alerts, put, read, set_settings

NETWORK = "n-1"
OLD = {"first_seen_at": ago(1000), "sightings": 2}


def orphan(hangar, **columns):
    insert(hangar, "public.fly_orphans", **{"app": "a", "network": NETWORK, **columns})


def closed_row(hangar, *, intended=True, **columns):
    row = put(hangar, **{"fly_app_name": "a", "network": NETWORK, "status": "deleted", "deleted_at": ago(0), **columns})
    if intended:
        insert(hangar, "hangar.intended_deletions", fly_app_id=row, intended_at=ago(60))
    return row


REMOVABLE = [
    ({"approved_by": "operator"}, None, True),
    (OLD, None, True),
    ({**OLD, "sightings": 1}, None, False),
    ({**OLD, "first_seen_at": ago(890)}, None, False),
    ({}, {}, True),  # its removal was intended, and the row was closed
    ({}, {"intended": False}, False),
    ({}, {"network": "n-2"}, False),  # another app of the same name
    ({}, {"fly_app_name": "b"}, False),
    ({}, {"status": "deprovisioning", "deleted_at": None}, False),
]


def test_which_orphan_may_be_removed(inside):
    for columns, row, removable in each(inside, REMOVABLE):
        orphan(inside, **columns)
        if row is not None:
            closed_row(inside, **row)
        assert inside.one("select hangar.is_removable(o) from fly_orphans o") is removable, (columns, row)


FORGOTTEN = [
    ({}, None, None, True),
    ({"lost": True}, None, None, False),
    ({"approved_by": "operator"}, None, None, False),
    ({"lost": True, "first_seen_at": ago(60)}, 30, None, True),  # Hangar has removed it
    ({"lost": True, "first_seen_at": ago(60)}, 90, None, False),  # what it has removed was the one before
    ({"lost": True}, None, {}, True),  # it is in use again
    ({"lost": True}, None, {"network": "n-2"}, False),
    ({"lost": True}, None, {"status": "deleted", "deleted_at": ago(0)}, False),
]


def test_which_orphan_is_forgotten_when_no_list_shows_it(inside):
    for columns, removed_s, row, forgotten in each(inside, FORGOTTEN):
        orphan(inside, **columns)
        if row is not None:
            put(inside, **{"fly_app_name": "a", "network": NETWORK, **row})
        answer = inside.one(
            "select hangar.may_forget_orphan(o, hangar.now() - make_interval(secs => %s::float)) from fly_orphans o",
            removed_s,
        )
        assert answer is forgotten, (columns, removed_s, row)


def record(hangar, *seen):
    listed = [{"app": app, "network": network} for app, network in seen]
    return hangar.one("select public.fly_record_orphans(%s::jsonb)", json.dumps(listed))["orphans"]


def known(hangar):
    [found] = hangar.sql("select *, hangar.now() - first_seen_at < interval '1 min' as is_new from fly_orphans")
    return found


def test_an_app_of_the_same_name_on_another_network_starts_again(inside):
    """But its loss still holds the brake: a list alone must not release that."""
    orphan(inside, **OLD, lost=True, approved_by="operator", user_id=uuid.uuid4(), absent_at=ago(5), listed=False)
    record(inside, ("a", "n-2"))
    found = known(inside)
    assert (found["is_new"], found["sightings"], found["approved_by"], found["user_id"]) == (True, 1, None, None)
    assert (found["network"], found["listed"], found["absent_at"], found["lost"]) == ("n-2", True, None, True)


def test_an_orphan_that_is_listed_again_has_aged_and_is_there(inside):
    user = uuid.uuid4()
    orphan(inside, **OLD, approved_by="operator", user_id=user, absent_at=ago(5), listed=False)
    record(inside, ("a", NETWORK))
    found = known(inside)
    assert (found["is_new"], found["sightings"], found["approved_by"], found["user_id"]) == (False, 3, "operator", user)
    assert (found["listed"], found["absent_at"]) == (True, None)


def test_an_orphan_that_is_not_listed_is_forgotten_or_kept_as_unlisted(inside):
    orphan(inside)
    orphan(inside, app="b", lost=True)
    assert [(each["app"], each["listed"]) for each in record(inside)] == [("b", False)]


def look_and_find_nothing(hangar, network=NETWORK):
    return hangar.one("select public.fly_record_orphan_absence('a', %s) ->> 'forgotten'", network) == "true"


def begin_sweep(hangar, ago_s=0):
    hangar.sql("delete from hangar.sweeps")
    insert(hangar, "hangar.sweeps", name="fleet", started_at=ago(ago_s))


def test_an_unlisted_orphan_is_forgotten_after_two_sweeps_have_looked_for_it(inside):
    """A second look by the same sweep is none, nor is one at an app of the same name."""
    orphan(inside, lost=True, listed=False)
    begin_sweep(inside, 10)
    assert not look_and_find_nothing(inside)
    assert not look_and_find_nothing(inside)
    begin_sweep(inside)
    assert not look_and_find_nothing(inside, "n-2")
    assert look_and_find_nothing(inside)
    assert inside.one("select count(*) from fly_orphans") == 0


def test_an_orphan_that_a_list_shows_is_not_forgotten(inside):
    orphan(inside, lost=True, listed=True, absent_at=ago(100))
    begin_sweep(inside)
    assert not look_and_find_nothing(inside)


DELETIONS = [
    ({}, {}, None),
    ({"paused": True}, {}, "paused"),
    ({"deletes_paused": True}, {}, "deletes_paused"),
    ({"brake_floor": 0, "brake_share": 0}, {}, "brake"),
    ({"deletes_per_minute": 1}, {}, "rate"),
    ({}, {"network": "hangar-000000000000-x"}, "installation"),
    ({}, {"installation": str(uuid.UUID(int=0))}, "installation"),
]


def test_why_an_orphan_must_not_be_deleted_now(inside):
    installation = inside.one("select installation_id from hangar.settings")
    log_action(inside, None, "delete_app", 10)
    for settings, given, refused in each(inside, DELETIONS):
        set_settings(inside, **{"brake_floor": 5, **settings})
        network = given.get("network", f"hangar-{installation.hex[:12]}-{uuid.uuid4().hex}")
        answer = inside.one(
            "select hangar.check_orphan_delete('a', %s, %s, %s)",
            network,
            uuid.uuid4(),
            given.get("installation", str(installation)),
        )
        assert answer == refused, (settings, given)
        assert open_alerts(inside, "brake") == ([("brake", "fleet")] if refused == "brake" else [])


USER = uuid.UUID(int=7)
SEEN = {"observed_at": ago(0), "machine_id": "m1"}
OWN = [
    # the user's own row, what becomes of the orphan, and why
    (SEEN, None, None),  # the user has another app, which runs
    ({**SEEN, "observed_at": ago(120)}, "keep", "own_app_not_seen"),
    ({**SEEN, "observed_at": None}, "keep", "own_app_not_seen"),
    ({**SEEN, "status": "provisioning"}, "keep", "own_app_not_seen"),
    ({**SEEN, "machine_state": "stopped"}, "keep", "own_app_not_seen"),
    ({**SEEN, "machine_state": "stopped", "power": "on_demand"}, None, None),
    ({**SEEN, "machine_state": "suspended", "power": "on_demand"}, None, None),
    ({**SEEN, "machine_state": "starting", "power": "on_demand"}, "keep", "own_app_not_seen"),
    ({"machine_state": "absent", "desired_state": "absent", "status": "deprovisioning"}, "keep", "own_app_not_seen"),
    ({"machine_state": "absent", "create_unknown_at": ago(1)}, "keep", "own_app_not_seen"),
    ({"machine_state": "absent", "open_intent": {"id": "1"}}, "keep", "own_app_not_seen"),
    ({"machine_state": "absent", "lease_token": uuid.uuid4(), "lease_expires_at": ago(-60)}, "keep", "row_busy"),
    ({"machine_state": "absent", "lease_token": uuid.uuid4(), "lease_expires_at": ago(1)}, "readopted", "own_app_gone"),
    ({"machine_state": "absent"}, "readopted", "own_app_gone"),
]


@pytest.fixture
def entitled(inside):
    """A user who pays, and an orphan of theirs of which the database never had the row."""
    insert(inside, "auth.users", id=USER, email="user@example.test")
    inside.sql("update user_subscriptions set tier = 'pro' where user_id = %s", USER)
    network = inside.one(
        "select hangar.network_name(g.installation_id, %s::uuid) from hangar.settings g", uuid.UUID(int=9)
    )
    orphan(inside, network=network, user_id=USER, lost=True, first_seen_at=ago(60))
    return inside


def give_back(hangar):
    [found] = hangar.sql(
        "select r.verdict, r.code from fly_orphans o cross join lateral hangar.return_orphan_to_user(o) r"
    )
    return found["verdict"], found["code"]


def test_an_orphan_returns_only_to_a_user_who_surely_has_no_other_app(entitled):
    for own, verdict, code in each(entitled, OWN):
        put(entitled, user_id=USER, **own)
        assert give_back(entitled) == (verdict, code), own


def test_an_orphan_returns_at_once_to_a_user_without_a_row(entitled):
    assert give_back(entitled) == ("readopted", "user_had_no_row")
    [row] = entitled.sql("select * from user_fly_apps where user_id = %s", USER)
    assert (row["id"], row["fly_app_name"], row["status"]) == (uuid.UUID(int=9), "a", "provisioning")
    assert row["create_unknown_at"] is not None
    assert entitled.one("select count(*) from fly_orphans") == 0


def test_an_orphan_that_is_not_lost_or_is_being_removed_takes_nobodys_place(entitled):
    for change_it in each(
        entitled,
        ("update fly_orphans set lost = false", "select hangar.now()"),
    ):
        row = put(entitled, user_id=USER, machine_state="absent")
        entitled.sql(change_it)
        if change_it.startswith("select"):
            log_action(entitled, None, "delete_app", 60, purpose="orphan", app="a")
        assert give_back(entitled) == ("keep", "own_app_not_seen")
        assert read(entitled, row)["deleted_at"] is None


def test_an_orphan_whose_row_exists_or_that_is_not_lost_is_not_readopted(entitled):
    """The user gets a new row instead, and the orphan is surplus then."""
    for statement in each(entitled, ("update fly_orphans set lost = false", "closed", "removing")):
        if statement == "closed":
            put(entitled, id=uuid.UUID(int=9), status="deleted", deleted_at=ago(60), fly_app_name="other")
        elif statement == "removing":
            log_action(entitled, None, "delete_app", 60, purpose="orphan", app="a")
        else:
            entitled.sql(statement)
        assert give_back(entitled) == ("keep", "new_row_first"), statement
        assert entitled.one("select fly_app_name <> 'a' from user_fly_apps where user_id = %s", USER)


def judge(hangar, act, *, app="a", network=None, user=None):
    found = hangar.sql("select network from fly_orphans where app = 'a'")
    network = network or found[0]["network"]
    intent = act.intent(
        "delete_app",
        purpose="orphan",
        app=app,
        installation_id=hangar.one("select installation_id::text from hangar.settings"),
    )
    return hangar.one(
        "select public.fly_judge_orphan(%s, %s, %s, %s, %s::jsonb)",
        app,
        network,
        uuid.UUID(int=9),
        user,
        json.dumps(intent),
    )


def test_what_a_machine_once_said_of_an_orphan_is_remembered(entitled, act):
    """Its owner, and that the database never had its row, also if the next look shows no owner."""
    entitled.sql("update user_subscriptions set tier = 'free' where user_id = %s", USER)
    entitled.sql("update fly_orphans set user_id = null, lost = false")
    judge(entitled, act)
    assert (known(entitled)["user_id"], known(entitled)["lost"]) == (None, False)
    for user in (USER, None):
        judge(entitled, act, user=user)
        assert (known(entitled)["user_id"], known(entitled)["lost"]) == (USER, True)


def test_the_owner_of_a_closed_row_is_the_owner_and_nothing_is_lost(entitled, act):
    owner = uuid.uuid4()
    entitled.sql("update fly_orphans set user_id = null, lost = false")
    put(entitled, id=uuid.UUID(int=9), user_id=owner, status="deleted", deleted_at=ago(60))
    judge(entitled, act, user=USER)
    assert (known(entitled)["user_id"], known(entitled)["lost"]) == (owner, False)


def test_an_orphan_of_another_network_or_installation_is_not_judged(entitled, act):
    other = entitled.one("select hangar.network_name(%s::uuid, %s::uuid)", uuid.uuid4(), uuid.UUID(int=9))
    assert judge(entitled, act, network=other)["code"] == "installation"
    entitled.sql("update fly_orphans set network = 'n-2'")
    ours = entitled.one(
        "select hangar.network_name(g.installation_id, %s::uuid) from hangar.settings g", uuid.UUID(int=9)
    )
    assert judge(entitled, act, network=ours)["code"] == "not_recorded"


def test_a_lost_orphan_says_that_rows_are_lost_although_it_is_too_new_to_remove(entitled, act):
    entitled.sql("update user_subscriptions set tier = 'free' where user_id = %s", USER)
    for number in range(4):
        orphan(entitled, app=f"lost-{number}", network=f"n-{number}", lost=True)
    put(entitled)
    assert judge(entitled, act)["code"] == "too_new"
    assert open_alerts(entitled, "brake") == [("brake", "database")]


def test_a_row_that_gave_way_to_an_orphan_is_closed_for_good(entitled):
    row = put(entitled, user_id=USER, machine_state="absent", next_attempt_at=ago(0))
    change(entitled, row, lease_token=uuid.uuid4(), lease_expires_at=ago(1))
    give_back(entitled)
    found = read(entitled, row)
    assert (found["status"], found["next_attempt_at"], found["lease_token"], found["generation"]) == (
        "deleted",
        None,
        None,
        2,
    )
