"""What the command line reads as `service_role`: candidates for the migration, Hangar's state, its cost."""

from decimal import Decimal

import pytest
from psycopg import errors

pytestmark = pytest.mark.every_postgres


def candidates(hangar, limit=500):
    """All pages. Each may be short; only a null `next` ends them."""
    found, after = [], None
    while True:
        page = hangar.rpc("fly_migration_candidates", after=after, limit=limit)
        assert len(page["users"]) <= limit
        found += page["users"]
        after = page["next"]
        if after is None:
            return found


def ids(users):
    return [user["user_id"] for user in users]


def test_a_fresh_install_shows_who_is_entitled_with_size_and_cost_and_changes_nothing(installed):
    """The dry run's whole source: one entry for each entitled user, money as text."""
    user = installed.user("pro")
    installed.user("free")
    [found] = candidates(installed)
    assert found == {
        "user_id": str(user), "email": f"user-{user.hex[:8]}@example.test", "tier": "pro", "why": "active",
        "cpu_kind": "shared", "cpu_count": 2, "memory_mb": 512, "region": "sin", "monthly_cost_estimate_usd": "6.00",
        "status": None, "error_code": None, "error_message": None, "next_attempt_at": None,
    }  # fmt: skip
    assert installed.row(user) is None
    assert installed.sql("select 1 from public.user_fly_app_events where user_id is not null") == []


def test_entitlement_is_that_of_derive(installed):
    """Expired, denied, unknown and deleted users are no candidates; granted and late-paying ones are."""
    gone = installed.user("pro")
    installed.sql("delete from auth.users where id = %s", gone)
    denied, granted = installed.user("pro"), installed.user("free")
    installed.user("pro", expires_at="2020-01-01")
    installed.user("elite", status="cancelled")
    late = installed.user("elite", status="past_due", expires_at="2999-01-01")
    installed.rpc("fly_set_override", user=denied, override="deny", plan=None, actor="t", reason=None)
    installed.sql(
        "insert into fly_overrides (user_id, override, plan, actor) values (%s, 'grant', 'pro', 't')", granted
    )
    found = {user["user_id"]: (user["tier"], user["why"]) for user in candidates(installed)}
    assert found == {str(late): ("elite", "past_due_until"), str(granted): ("pro", "override_grant")}


def test_an_admitted_user_stays_a_candidate_until_active(installed):
    """A second run finds what an interrupted one left: rows that are provisioning or failed, and not those that run."""
    user = installed.user("pro")
    installed.rpc("fly_admit", users=[user], actor="test")
    assert [found["status"] for found in candidates(installed)] == ["provisioning"]
    row = installed.lease(user)
    failure = {"status": "error", "error_code": "image", "error_message": "no such image", "next_attempt_in_s": None}
    installed.save(row, release=True, **failure)
    [found] = candidates(installed)
    assert (found["status"], found["error_code"], found["error_message"]) == ("error", "image", "no such image")
    installed.converge(user)
    assert candidates(installed) == []


def test_a_former_user_who_pays_again_is_a_candidate(installed):
    """Deleted rows do not count as an app; a row on its way out does."""
    user = installed.user("pro")
    installed.rpc("fly_admit", users=[user], actor="test")
    installed.converge(user)
    installed.subscribe(user, tier="free")
    assert candidates(installed) == []
    installed.save(installed.lease(user), deleted=True)
    installed.sql("set session_replication_role = replica")
    installed.subscribe(user, tier="pro")
    assert ids(candidates(installed)) == [str(user)]


def test_pages_end_with_null_and_skip_no_user(installed):
    """Users who are not entitled thin a page out; they do not end it."""
    users = [installed.user("pro") for _ in range(7)]
    for user in sorted(users)[1:4]:
        installed.subscribe(user, expires_at="2020-01-01")
    expected = [str(user) for user in sorted(users) if user not in sorted(users)[1:4]]
    for limit in (1, 2, 3, 500):
        assert ids(candidates(installed, limit)) == expected


@pytest.mark.parametrize(
    ("name", "arg", "most"), [("fly_migration_candidates", "limit", 500), ("fly_cost_report", "top", 100)]
)
def test_a_limit_above_the_maximum_is_refused_by_name(common, name, arg, most):
    """22023 and the maximum, as everywhere."""
    with pytest.raises(errors.InvalidParameterValue, match=str(most)):
        common.rpc(name, **{arg: most + 1})


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_only_service_role_may_ask(common, connect, role):
    """E-mails, costs and settings are the operator's."""
    session = connect(common.url, role)
    for call in ("fly_migration_candidates()", "fly_overview()", "fly_cost_report()", "fly_retry(null, 'me')"):
        with pytest.raises(errors.InsufficientPrivilege):
            session.execute(f"select public.{call}".encode())


@pytest.mark.slow
def test_ten_thousand_users_are_paged_well_within_the_statement_limit(installed):
    """No page computes more entitlements than its limit, so each stays far below PostgREST's 8 s."""
    installed.sql("set session_replication_role = replica")
    numbers = (
        "select ('20000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid as id, n from generate_series(1, 10000) n"
    )
    for table, columns, values in (
        ("auth.users", "id, email", "id, 'user-' || n || '@example.test'"),
        ("public.user_profiles", "id, email", "id, 'user-' || n || '@example.test'"),
        ("public.user_subscriptions", "user_id, tier", "id, 'pro'"),
    ):
        installed.sql(f"insert into {table} ({columns}) select {values} from ({numbers}) x")
        installed.sql(f"analyze {table}")
    installed.service.execute("set statement_timeout = '2s'")
    found = candidates(installed)
    assert len(found) == len(set(ids(found))) == 10000
    assert sum(Decimal(user["monthly_cost_estimate_usd"]) for user in found) == Decimal("60000.00")


def test_the_overview_shows_settings_sweep_due_rows_and_open_alerts(hangar):
    """One call shows an operator the state of Hangar."""
    told = hangar.rpc("fly_overview")
    assert told["settings"]["live"] is True
    assert (told["sweep"], told["alerts"], told["alerts_open"]) == (None, [], 0)
    hangar.user("pro")
    hangar.rpc("fly_raise_alert", kind="test", key="one", message="something is up")
    claim = hangar.rpc("fly_sweep_claim", holder="test")
    told = hangar.rpc("fly_overview")
    assert told["due"]["apps"] == 1
    assert told["sweep"]["under_way"] is True
    assert [alert["message"] for alert in told["alerts"] if alert["kind"] == "test"] == ["something is up"]
    hangar.rpc("fly_sweep_finish", name="fleet", token=claim["token"], report={"apps": 1})
    told = hangar.rpc("fly_overview")
    assert told["sweep"]["under_way"] is False
    assert told["sweep"]["completed_at"] is not None
    hangar.rpc("fly_resolve_alert", kind="test", key="one")
    assert [alert for alert in hangar.rpc("fly_overview")["alerts"] if alert["kind"] == "test"] == []


def test_the_cost_report_groups_the_fleet_and_adds_up_the_month(hangar):
    """Estimates by size and region, and the month so far as intervals times price, to the last digit."""
    in_mid_month = "select extract(epoch from date_trunc('month', now()) + interval '1 month 15 days' - now())::float"
    hangar.shift_clock(hangar.one(in_mid_month))
    first, second = hangar.user("pro"), hangar.user("elite")
    hangar.converge(first)
    hangar.converge(second)
    hangar.sql(
        "update fly_cost_intervals set started_at = date_trunc('month', hangar.now(), 'UTC') - interval '1 day',"
        " ended_at = date_trunc('month', hangar.now(), 'UTC') + interval '1000 seconds' where user_id = %s",
        first,
    )
    hangar.sql("delete from fly_cost_intervals where user_id = %s", second)
    told = hangar.rpc("fly_cost_report", top=1)
    groups = {group["tier"]: group for group in told["groups"]}
    assert {tier: (group["apps"], group["running"]) for tier, group in groups.items()} == {
        "elite": (1, 1),
        "pro": (1, 1),
    }
    assert groups["pro"]["monthly_cost_estimate_usd"] == "6.00"
    assert Decimal(told["to_date"]["usd"]) == Decimal("0.002")
    assert Decimal(told["to_date"]["running_seconds"]) == 1000
    [dearest] = told["users"]
    assert (dearest["user_id"], Decimal(dearest["to_date_usd"])) == (str(first), Decimal("0.002"))
    assert [plan["tier"] for plan in told["plans"]] == ["elite", "pro"]


def test_users_pay_unless_they_were_granted_the_plan_or_leave(hangar):
    """A grant that has ended counts no more: its user pays, or is about to lose the app."""
    users = [hangar.user("pro") for _ in range(4)]
    for user in users:
        hangar.converge(user)
    _, granted, granted_once, leaving = users
    for user, ends_at in ((granted, None), (granted_once, "2020-01-01")):
        hangar.sql(
            "insert into fly_overrides (user_id, override, plan, ends_at, actor) values (%s, 'grant', 'pro', %s, 'me')",
            user, ends_at,
        )  # fmt: skip
    hangar.sql("update user_fly_apps set desired_state = 'absent' where user_id = %s", leaving)
    [group] = hangar.rpc("fly_cost_report")["groups"]
    assert (group["apps"], group["paying"]) == (4, 2)


def test_the_most_expensive_users_are_those_who_cost_the_most_a_month(hangar):
    """A large machine that was just started comes before a small one that has run for weeks; a user who is gone comes last."""
    gone, small, large = (hangar.user("pro") for _ in range(3))
    for user, estimate, usd in ((gone, None, "90"), (small, "6.00", "5"), (large, "120.00", "0.17")):
        hangar.converge(user)
        hangar.sql("update user_fly_apps set monthly_cost_estimate_usd = %s where user_id = %s", estimate, user)
        hangar.sql(
            "update fly_cost_intervals set price_usd_per_s = %s, ended_at = hangar.now(),"
            " started_at = hangar.now() - interval '1 s' where user_id = %s",
            usd, user,
        )  # fmt: skip
    hangar.sql("update user_fly_apps set status = 'deleted', deleted_at = now() where user_id = %s", gone)
    assert [found["user_id"] for found in hangar.rpc("fly_cost_report", top=3)["users"]] == [
        str(large),
        str(small),
        str(gone),
    ]
    assert [found["user_id"] for found in hangar.rpc("fly_cost_report", top=1)["users"]] == [str(large)]


def test_what_a_deleted_user_has_cost_stays_in_the_month(hangar):
    """The cost of a deleted app counts until the month ends."""
    user = hangar.user("pro")
    hangar.converge(user)
    hangar.subscribe(user, tier="free")
    hangar.save(hangar.lease(user), deleted=True)
    hangar.sql("update fly_cost_intervals set started_at = ended_at - interval '500 seconds' where true")
    told = hangar.rpc("fly_cost_report")
    assert told["groups"] == []
    assert [found["user_id"] for found in told["users"]] == [str(user)]


def fail(hangar, user, **patch):
    """The user's attempt ended in a failure that needs an operator."""
    failure = {"status": "error", "error_code": "image", "error_message": "no such image", "next_attempt_in_s": None}
    hangar.save(hangar.lease(user), release=True, retry_count=4, **{**failure, **patch})


@pytest.mark.parametrize("next_in_s", [None, 900])
def test_a_retry_makes_a_failed_app_due_at_once(hangar, next_in_s):
    """A backoff and a wait for an operator both end; the next claim needs no force."""
    user = hangar.user("pro")
    fail(hangar, user, next_attempt_in_s=next_in_s)
    assert hangar.claim(user)["outcome"] == "waiting"
    told = hangar.rpc("fly_retry", user=user, actor="test")
    assert (told["changed"], told["row"]["status"], told["row"]["generation"]) == (False, "error", "1")
    assert hangar.events(user)[-1] == ("recovery_attempted", "info")
    assert hangar.claim(user)["outcome"] == "claimed"


def test_a_retry_uses_the_fixed_plan_and_settings(hangar):
    """A row has the wrong image and size; the operator has fixed the setting and the plan."""
    user = hangar.user("pro")
    fail(hangar, user)
    hangar.rpc("fly_set_settings", changes={"default_image": "registry.fly.io/good:1"}, actor="test")
    hangar.sql("update fly_plans set memory_mb = 1024 where tier = 'pro'")
    told = hangar.rpc("fly_retry", user=user, actor="test")
    row = hangar.live_row(user)
    assert told["changed"] is True
    assert (row["docker_image"], row["memory_mb"], row["monthly_cost_estimate_usd"]) == (
        "registry.fly.io/good:1", 1024, Decimal("7.00"),
    )  # fmt: skip
    assert (row["status"], row["generation"], row["error_code"], row["retry_count"]) == ("provisioning", 2, None, 0)


def test_a_retry_leaves_an_app_that_runs_alone(hangar):
    """A retry does not move a user with a working image to a new one."""
    user = hangar.user("pro")
    hangar.converge(user)
    hangar.rpc("fly_set_settings", changes={"default_image": "registry.fly.io/good:1"}, actor="test")
    before = hangar.live_row(user)
    assert hangar.rpc("fly_retry", user=user, actor="test")["changed"] is False
    assert hangar.live_row(user) == before


def test_a_retry_without_a_row_changes_nothing(hangar):
    """Without a row nothing changes, and an actor is required."""
    assert hangar.rpc("fly_retry", user=hangar.user("free"), actor="test") == {"changed": False, "row": None}
    with pytest.raises(errors.InvalidParameterValue, match="p_actor"):
        hangar.rpc("fly_retry", user=hangar.user("free"), actor="")
