"""The guards of destroying, of the log and of a user's own rows, each tested alone."""

import uuid

import psycopg
import pytest


def sight(hangar, times, app="surplus", row_id=None, network=None):
    """An app with our proof and no row, seen by so many sweeps; returns its name, network and row id."""
    row_id = row_id or uuid.uuid4()
    installation = hangar.one("select installation_id from hangar.settings")
    network = network or f"hangar-{installation.hex[:12]}-{row_id.hex}"
    hangar.sql("update hangar.settings set orphan_after_s = 0")
    for _ in range(times):
        hangar.rpc("fly_record_orphans", seen=[{"app": app, "network": network}])
    return app, network, row_id


def judge(hangar, act, orphan, user=None):
    app, network, row_id = orphan
    intent = act.intent("delete_app", purpose="orphan", app=app)
    return hangar.rpc("fly_judge_orphan", app=app, network=network, row_id=row_id, user=user, intent=intent)


def test_one_sighting_never_removes_an_orphan(hangar, act):
    """I5: one listing may be wrong, at any age. The sighting of a second sweep makes the orphan removable."""
    assert judge(hangar, act, sight(hangar, 1))["verdict"] == "keep"
    assert judge(hangar, act, sight(hangar, 2))["verdict"] == "remove"


def test_an_orphan_of_an_unknown_tier_is_kept(installed, act):
    """I5: its user's entitlement is unknown, so it stays. Once the plan is back, it is re-adopted."""
    user = installed.user("pro")
    orphan = sight(installed, 2)
    plan = installed.sql("delete from fly_plans where tier = 'pro' returning *")[0]
    assert judge(installed, act, orphan, user)["verdict"] == "keep"
    installed.sql(
        "insert into fly_plans (tier, dedicated, cpu_count, memory_mb) values ('pro', true, %s, %s)",
        plan["cpu_count"],
        plan["memory_mb"],
    )
    assert judge(installed, act, orphan, user)["verdict"] == "readopted"


def test_a_left_over_app_of_a_user_of_an_unknown_tier_is_kept(hangar, act):
    """I5: even if the database knows its user, where no other guard applies."""
    user = hangar.user("pro")
    row = hangar.live_row(user)
    hangar.sql("update user_fly_apps set status = 'deleted', deleted_at = hangar.now() where id = %s", row["id"])
    hangar.sql("delete from fly_plans where tier = 'pro'")
    orphan = sight(hangar, 2, row["fly_app_name"], row["id"], row["network"])
    answer = judge(hangar, act, orphan, user)
    assert (answer["verdict"], answer["code"]) == ("keep", "unknown_tier")


def test_an_app_that_has_a_live_row_by_now_is_kept(hangar, act):
    """I5: the sweep read the fleet a moment ago; what the database says at the moment of destroying counts."""
    row = hangar.live_row(hangar.user("pro"))
    orphan = sight(hangar, 2, row["fly_app_name"], row["id"], row["network"])
    answer = judge(hangar, act, orphan)
    assert (answer["verdict"], answer["code"]) == ("keep", "in_use")


def test_the_brake_counts_a_whole_hour(hangar, act):
    """I5: an app destroyed 45 minutes ago still counts."""
    hangar.sql("update hangar.settings set brake_floor = 1, brake_share = 0")
    users = [hangar.user("pro") for _ in range(2)]
    for user in users:
        hangar.subscribe(user, tier="free")
    destroy = act.intent("delete_app", purpose="deprovision")
    assert hangar.save(hangar.lease(users[0]), events=[destroy])["refused"] is None
    hangar.shift_clock(2700)
    destroy = act.intent("delete_app", purpose="deprovision")
    assert hangar.save(hangar.lease(users[1]), events=[destroy])["refused"] == "brake"


@pytest.mark.parametrize(
    "change", ["update user_fly_app_events set status = 'info'", "delete from user_fly_app_events"]
)
def test_the_log_cannot_be_changed(hangar, change):
    """I11: append-only, for a superuser as well."""
    hangar.user("pro")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        hangar.sql(change)


@pytest.mark.parametrize("table", ["user_fly_apps", "user_fly_app_events"])
def test_a_user_sees_their_own_rows_only(hangar, table):
    """I9: a user signed in at the API reads their own rows only."""
    users = [hangar.user("pro") for _ in range(2)]
    for user in users:
        session = hangar.connect(hangar.url, "authenticated", {"sub": str(user), "role": "authenticated"})
        assert set(session.execute(f"select user_id from public.{table}").fetchall()) == {(user,)}
