"""One user at a time: what a tier change becomes on Fly, with the calls and the database calls it takes."""

from decimal import Decimal
from uuid import UUID

import pytest

from local.fly.transport import open_client
from shared.domain.errors import OutcomeUnknown, TransientError
from shared.domain.naming import app_name, network_name
from shared.reconcile.audit_log import AuditLog
from shared.reconcile.result import Result
from tests.support.boundaries import Killed
from tests.support.worker import ORG


def provision(world, user) -> Result:
    return world.reconciler.reconcile(user, 240)


def writes(world) -> list[str]:
    """Every call that changed Fly, in order."""
    return [
        where.removeprefix("before ")
        for where in world.boundaries.trace
        if where.startswith("before ") and "/v1/" in where
    ]


def test_a_paid_user_gets_one_running_machine(world):
    user = world.add_user("pro")
    outcome = provision(world, user)
    row = world.row(user)
    assert (outcome.state, outcome.status, outcome.monthly_cost_estimate_usd) == (
        "converged",
        "active",
        Decimal("6.00"),
    )
    assert row["observed_generation"] == row["generation"] == 1
    assert row["network"] == network_name(world.installation_id, UUID(row["id"]))
    (machines,) = world.apps().values()
    assert [(machine.id, machine.state) for machine in machines] == [(row["machine_id"], "started")]
    assert row["machine_state"] == "started"
    assert row["next_attempt_at"] is None
    assert row["lease_token"] is None


def test_provisioning_takes_three_writes_and_few_database_calls(world):
    """I7, and the saves: n actions cost n + 2 database calls, one more where an id is saved before waiting."""
    user = world.add_user("pro")
    provision(world, user)
    name = world.row(user)["fly_app_name"]
    assert writes(world) == ["POST /v1/apps", f"POST /v1/apps/{name}/secrets", f"POST /v1/apps/{name}/machines"]
    assert len(world.store.calls) <= 3 + 3


def test_every_write_has_an_intent_before_and_an_outcome_after(world):
    """I11."""
    user = world.add_user("pro")
    provision(world, user)
    world.set_tier(user, "free")
    provision(world, user)
    events = world.events(user)
    intents = {event[2]["action"] for event in events if event[:2] == ("action", "intent")}
    assert intents == {"create_app", "set_secrets", "create_machine", "stop_machine", "delete_app"}
    assert sum(event[:2] == ("action", "intent") for event in events) == sum(
        event[:2] == ("action", "succeeded") for event in events
    )
    kinds = [event[0] for event in events]
    for kind in ("provision_started", "provision_completed", "deprovision_started", "deprovision_completed"):
        assert kinds.count(kind) == 1, kind


def test_a_downgrade_leaves_nothing_and_an_upgrade_makes_a_new_app(world):
    user = world.add_user("pro")
    provision(world, user)
    first = world.row(user)
    world.set_tier(user, "free")
    outcome = provision(world, user)
    assert (outcome.state, outcome.status) == ("converged", "deleted")
    assert world.apps() == {}
    gone = world.row(user)
    assert gone["deleted_at"] is not None
    assert gone["machine_state"] == "absent"
    world.set_tier(user, "pro")
    assert provision(world, user).status == "active"
    second = world.row(user)
    assert second["id"] != first["id"]
    assert second["fly_app_name"] == app_name("vyx-user", user, 1)
    assert list(world.apps()) == [second["fly_app_name"]]


def test_a_free_user_gets_nothing(world):
    user = world.add_user()
    assert provision(world, user).state == "nothing"
    assert world.apps() == {}


def test_an_unknown_user_is_said_to_be_unknown(world):
    outcome = provision(world, UUID(int=99))
    assert (outcome.state, outcome.known) == ("nothing", False)


def test_a_second_run_over_an_active_app_changes_nothing(world):
    user = world.add_user("pro")
    provision(world, user)
    before = len(writes(world))
    assert provision(world, user).state == "converged"
    assert len(writes(world)) == before


def test_a_second_worker_is_told_that_the_row_is_leased(world):
    user = world.add_user("pro")
    other = world.new_worker()
    other.database.claim(user, "other", force=False)
    outcome = provision(world, user)
    assert outcome.state == "pending"
    assert "another worker" in outcome.detail
    assert outcome.next_attempt_at is not None


def test_a_name_held_by_a_stranger_is_left_alone(world):
    """I4: the user's next name is taken, the stranger's app is never written to."""
    user = world.add_user("pro")
    taken = app_name("vyx-user", user, 0)
    world.control("PUT", "foreign-apps", [taken])
    assert provision(world, user).status == "active"
    assert world.row(user)["fly_app_name"] == app_name("vyx-user", user, 1)
    assert not [call for call in writes(world) if taken in call]


def test_an_app_of_our_own_organisation_without_our_proof_is_left_alone(world):
    """I4: readable with our token and still not ours, because its network does not carry this row's proof."""
    user = world.add_user("pro")
    taken = app_name("vyx-user", user, 0)
    with open_client(world.sim) as fly:
        fly.post("/v1/apps", json={"app_name": taken, "org_slug": ORG, "network": "somebody"}).raise_for_status()
    assert provision(world, user).status == "active"
    assert world.row(user)["fly_app_name"] == app_name("vyx-user", user, 1)
    assert not [call for call in writes(world) if taken in call]
    assert world.sim.apps[taken].network == "somebody"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_call_without_an_answer_is_recorded_as_unknown(world, when):
    """I11: all four responses are lost. The intent gets the outcome `unknown`, and the next round observes the effect."""
    world.fault(method="POST", path="/v1/apps/*/machines", when=when, disconnect=True, times=4)
    user = world.add_user("pro")
    with pytest.raises(OutcomeUnknown):
        provision(world, user)
    assert world.count_actions(user, "unknown") == 1
    assert world.count_actions(user, "intent") == world.count_actions(user, "succeeded", "failed", "unknown")
    world.settle()
    (machines,) = world.apps().values()
    assert [machine.id for machine in machines] == [world.row(user)["machine_id"]]


def test_a_wrong_token_is_retried_automatically(world):
    """Fly answers 401 to everything. After the token is fixed, every user recovers without a manual retry."""
    world.fault(
        method="GET",
        path="/v1/apps/*",
        when="before",
        status=401,
        body={"error": "Authenticate: token validation error"},
    )
    user = world.add_user("pro")
    provision(world, user)
    row = world.row(user)
    assert (row["status"], row["error_code"]) == ("error", "token")
    assert row["next_attempt_at"] is not None
    world.control("PUT", "faults", [])
    world.settle()
    assert world.row(user)["status"] == "active"


@pytest.mark.parametrize("path", ["/v1/apps", "/v1/apps/*/secrets", "/v1/apps/*/machines"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["disconnect", "503", "408", "html"])
def test_a_lost_answer_doubles_nothing(world, path, when, kind):
    """I2: whatever call loses its answer, before or after its effect, there is one app with one machine."""
    fault = {"disconnect": True} if kind == "disconnect" else {"status": 408} if kind == "408" else {"status": 503}
    if kind == "html":
        fault["body"] = "<html>bad gateway</html>"
    world.fault(method="POST", path=path, when=when, times=1, **fault)
    user = world.add_user("pro")
    assert provision(world, user).status == "active"
    (machines,) = world.apps().values()
    assert [machine.id for machine in machines] == [world.row(user)["machine_id"]]
    failed = [event for event in world.events(user) if event[0] == "error_occurred"]
    assert len(failed) == 1


def test_a_failing_fly_is_tried_four_times_then_left_with_an_alert(world):
    """Waits of 2, 4 and 8 s inside the call; then error, an alert, a time for the next attempt, and recovery by the sweep."""
    world.fault(method="POST", path="/v1/apps", when="before", status=503)
    user = world.add_user("pro")
    started = world.clock()
    with pytest.raises(Exception, match="503"):
        provision(world, user)
    assert 14 <= world.clock() - started < 20
    row = world.row(user)
    assert (row["status"], row["retry_count"]) == ("error", 4)
    assert row["next_attempt_at"] is not None
    (failed,) = [event for event in world.events(user) if event[0] == "provision_failed"]
    assert failed[2]["max_retries_exceeded"] is True
    assert world.open_alerts() == {("provision_failed", "fly_unavailable")}
    world.control("PUT", "faults", [])
    world.settle()
    row = world.row(user)
    assert (row["status"], row["retry_count"], row["error_code"]) == ("active", 0, None)
    assert world.open_alerts() == set()


def watch_attempts(world, user):
    """What the row shows at each wait between two tries, and how many failed tries its log holds by then."""
    shown = []

    def wait(seconds):
        row = world.row(user)
        failed = sum(kind == "error_occurred" for kind, _, _ in world.events(user))
        shown.append((seconds, row["retry_count"], row["error_message"], failed))
        world.clock.advance(seconds)

    world.reconciler.sleep = wait
    return shown


def test_a_failed_try_shows_before_the_next_one(world):
    """Row and log show each failed attempt with its time while the worker still waits, not 14 s later."""
    world.fault(method="POST", path="/v1/apps", when="before", status=503)
    user = world.add_user("pro")
    shown = watch_attempts(world, user)
    with pytest.raises(Exception, match="503"):
        provision(world, user)
    assert [(wait, count, failed) for wait, count, _, failed in shown] == [(2, 1, 1), (4, 2, 2), (8, 3, 3)]
    assert "503" in shown[1][2]
    assert shown[1][2].endswith("retrying in 4 s")
    times = world.sql(
        "select extract(epoch from created_at - lag(created_at) over (order by created_at))::int"
        " from public.user_fly_app_events where user_id = %s and event_type = 'error_occurred' order by created_at",
        user,
    )
    assert [gap for (gap,) in times] == [None, 2, 4]


def test_tries_that_led_to_success_leave_nothing_on_the_row(world):
    """Only a round that failed counts: else the next refused name would be given up at once (I3)."""
    world.fault(method="POST", path="/v1/apps", when="before", status=503, times=2)
    user = world.add_user("pro")
    world.kill_after("POST", "/v1/apps/*/secrets")  # behind the save that carries the outcome
    with pytest.raises(Killed):
        provision(world, user)
    row = world.row(user)
    assert (row["retry_count"], row["error_message"]) == (0, None)
    world.spare()
    world.settle()
    assert world.row(user)["status"] == "active"


def test_a_failure_is_not_recorded_for_a_state_desired_later(world, monkeypatch):
    """The failure belongs to the previous desired state. It is not recorded for the new one, which is due at once."""
    world.fault(method="POST", path="/v1/apps", when="before", status=503)
    user = world.add_user("pro")
    save = world.reconciler.database.save

    def leave_before_the_failure_is_saved(row, patch, events, *, release):
        if patch.get("status") == "error":
            world.set_tier(user, "free")
        return save(row, patch, events, release=release)

    monkeypatch.setattr(world.reconciler.database, "save", leave_before_the_failure_is_saved)
    with pytest.raises(Exception, match="503"):
        provision(world, user)
    row = world.row(user)
    assert (row["status"], row["error_code"]) == ("deprovisioning", None)
    assert world.sql("select next_attempt_at <= hangar.now() from public.user_fly_apps") == [(True,)]


def test_a_failing_progress_save_does_not_end_a_healthy_call(world, monkeypatch):
    """The attempt is only shown on the row: the call goes on, and the attempt's event travels with the next save."""
    world.fault(method="POST", path="/v1/apps", when="before", status=503, times=1)
    user = world.add_user("pro")
    database, refused = world.reconciler.database, []
    save = database.save

    def refuse_progress(row, patch, events, *, release):
        if "retry_count" in patch and not release and not refused:
            refused.append(patch)
            raise TransientError("the database is out of reach")
        return save(row, patch, events, release=release)

    monkeypatch.setattr(database, "save", refuse_progress)
    assert provision(world, user).status == "active"
    assert len(refused) == 1
    assert sum(kind == "error_occurred" for kind, _, _ in world.events(user)) == 1
    assert world.row(user)["retry_count"] == 0


def test_a_lease_lost_between_two_tries_ends_the_worker(world):
    """Another worker has the row: the call is not repeated, and that worker closes the intent as unknown."""
    world.fault(method="POST", path="/v1/apps", when="before", status=503, times=1)
    user = world.add_user("pro")
    calls = world.watch_calls()

    def lose():
        world.sql("update public.user_fly_apps set lease_expires_at = hangar.now() where user_id = %s", user)
        other = world.new_worker()
        assert other.database.claim(user, "other", force=True).outcome == "claimed"

    note = AuditLog.add_attempt

    def attempt(journal, *told):
        lose()
        note(journal, *told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AuditLog, "add_attempt", attempt)
        outcome = provision(world, user)
    assert "another worker" in outcome.detail
    assert calls.count(("POST", "/v1/apps")) == 1
    assert world.count_actions(user, "unknown") == 1
    world.settle()
    assert world.row(user)["status"] == "active"


def test_a_size_fly_refuses_waits_for_a_person(world):
    """Two shared vCPU with 256 MB: nothing more is tried, and the row says what to do."""
    world.give_size_that_fly_refuses()
    user = world.add_user("pro")
    outcome = provision(world, user)
    row = world.row(user)
    assert outcome.state == "pending"
    assert (row["status"], row["error_code"], row["next_attempt_at"]) == ("error", "size", None)
    assert "need at least 512 MB" in row["error_message"]


def test_a_paused_installation_changes_nothing_on_fly(world):
    user = world.add_user("pro")
    world.sql("select public.fly_set_paused(true, 'test')")
    outcome = provision(world, user)
    assert outcome.state == "pending"
    assert "resume" in outcome.detail
    assert writes(world) == []
    world.sql("select public.fly_set_paused(false, 'test')")
    assert world.sweep(drain_only=True).provisioned == 1
    assert world.row(user)["status"] == "active"


def test_a_cloned_database_is_read_only(world):
    """I5: the functions' installation differs from the database's, so nothing on Fly is theirs to change."""
    user = world.add_user("pro")
    world.sql("update hangar.settings set installation_id = gen_random_uuid()")
    assert provision(world, user).state == "pending"
    assert writes(world) == []
    assert ("installation", "fleet") in world.open_alerts()


@pytest.mark.slow
def test_an_unkind_fly_ends_the_same(unkind_world):
    world = unkind_world
    users = [world.add_user("pro") for _ in range(3)]
    for user in users:
        provision(world, user)
    world.settle()
    assert {row: len(machines) for row, machines in world.apps().items()} == {
        world.row(user)["fly_app_name"]: 1 for user in users
    }
    for user in users:
        world.set_tier(user, "free")
    world.settle(3)
    assert world.apps() == {}
    assert {world.row(user)["status"] for user in users} == {"deleted"}


def test_a_write_with_an_unreadable_answer_is_not_sent_again(world):
    """It has probably happened: the outcome is unknown, and the next observation shows it."""
    user = world.add_user("pro")
    world.fault(method="POST", path="/v1/apps/*/secrets", when="after", status=200, body="<html>", times=1)
    calls = world.watch_calls()
    with pytest.raises(TransientError, match="cannot read"):
        provision(world, user)
    assert calls.count(("POST", "/v1/apps/*/secrets")) == 1
    assert world.count_actions(user, "unknown") == 1
    world.settle()
    assert world.row(user)["status"] == "active"
