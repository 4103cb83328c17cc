"""Fly refuses: its own words reach the row, the event and the alert; nothing is destroyed or replaced; it ends by itself."""

from uuid import UUID

import pytest

from local.fly.transport import open_client
from shared.domain.naming import network_name
from tests.support.worker import ORG

BILLING = "organization is suspended: pay the open invoice"
LIMIT = "Your organization has reached its machine limit. Please contact billing@fly.io to increase your limits."
RISK = "Your Fly.io account has been marked as high risk. Please verify your account."
MACHINES = "/v1/apps/*/machines"
HOUR = 3600


def refuse(world, method, path, text, status=403):
    world.fault(method=method, path=path, when="before", status=status, body={"error": text})


def have_active_users(world, number):
    users = world.add_users(["pro"] * number)
    world.sweep(drain_only=True)
    assert {world.row(user)["status"] for user in users} == {"active"}
    return users


def crash(world):
    for machine in world.sim.machines():
        world.control("POST", f"machines/{machine.id}/crash", {})


def machine_ids(world):
    return sorted(machine.id for machines in world.apps().values() for machine in machines)


def read_alert(world, kind="fly_refused"):
    """The open alerts of this kind, as (key, message)."""
    return world.sql("select key, message from hangar.alerts where kind = %s and resolved_at is null", kind)


def destroys(world):
    return world.sql(
        "select count(*) from public.user_fly_app_events where event_type = 'action' and status = 'intent'"
        " and (metadata ->> 'action') in ('destroy_machine', 'delete_app')"
    )[0][0]


def sweep_for(world, seconds, step_s=300):
    for _ in range(int(seconds // step_s)):
        world.clock.advance(step_s)
        world.sweep()


@pytest.mark.parametrize(
    ("text", "status", "code"), [(BILLING, 403, "billing"), (LIMIT, 422, "quota"), (RISK, 403, "policy")]
)
@pytest.mark.slow
def test_a_refused_start_destroys_nothing_however_often_it_is_refused(world, text, status, code):
    """C1: hours of refused starts, then Fly accepts: the same machine runs again."""
    [user] = have_active_users(world, 1)
    before = machine_ids(world)
    crash(world)
    refuse(world, "POST", f"{MACHINES}/*/start", text, status)
    sweep_for(world, 6 * HOUR)
    row = world.row(user)
    assert (row["status"], row["error_code"]) == ("error", code)
    assert text in row["error_message"]
    assert any(
        text in (details or "") for (details,) in world.sql("select error_details from public.user_fly_app_events")
    )
    assert (machine_ids(world), destroys(world)) == (before, 0)
    [(key, message)] = read_alert(world)
    assert key == code
    assert text in message
    assert f"{str(user)[:8]}@example.test" in message
    assert not read_alert(world, "provision_failed")
    world.set_faults()
    world.settle()
    assert world.row(user)["status"] == "active"
    assert [machine.state for machine in world.sim.machines()] == ["started"]
    assert (machine_ids(world), destroys(world), read_alert(world)) == (before, 0, [])


@pytest.mark.slow
def test_refused_starts_do_not_count_as_failed_starts(world):
    """After ten refused starts the machine stops once by itself: it is started again, and not replaced."""
    [user] = have_active_users(world, 1)
    before = machine_ids(world)
    crash(world)
    refuse(world, "POST", f"{MACHINES}/*/start", BILLING)
    sweep_for(world, 6 * HOUR)
    # Fly accepts the start, and the machine does not stay up.
    world.fault(method="POST", path=f"{MACHINES}/*/start", when="before", status=200, body={"ok": True})
    world.settle(1)
    assert (world.row(user)["error_code"], world.row(user)["retry_count"]) == ("start_failed", 1)
    world.set_faults()
    world.settle(1)
    assert (machine_ids(world), destroys(world), world.row(user)["status"]) == (before, 0, "active")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/apps/*"), ("POST", "/v1/apps"), ("POST", "/v1/apps/*/secrets"), ("POST", MACHINES)],
)
@pytest.mark.parametrize("text", [BILLING, "we would rather not"])
def test_a_refusal_keeps_flys_words_whatever_call_it_refuses(world, method, path, text):
    """C2: of a new user. The name is kept, no second app is made, and the user is served when Fly accepts."""
    user = world.add_user("pro")
    refuse(world, method, path, text)
    world.settle(3)
    row = world.row(user)
    assert (row["status"], row["error_code"]) == ("error", "billing" if text == BILLING else "refused")
    assert text in row["error_message"]
    assert row["name_seq"] == 0
    assert len(world.apps()) <= 1
    world.set_faults()
    world.settle()
    assert (world.row(user)["status"], world.row(user)["name_seq"], len(machine_ids(world))) == ("active", 0, 1)
    assert not world.open_alerts()


@pytest.mark.parametrize(("method", "path"), [("POST", f"{MACHINES}/*/stop"), ("DELETE", "/v1/apps/*")])
def test_a_refused_removal_says_why_and_is_made_later(world, method, path):
    [user] = have_active_users(world, 1)
    refuse(world, method, path, BILLING)
    world.set_tier(user, "free")
    world.settle(1)
    row = world.row(user)
    assert (row["status"], row["error_code"]) == ("error", "billing")
    assert BILLING in row["error_message"]
    world.set_faults()
    world.settle()
    assert (world.row(user)["status"], world.apps(), world.open_alerts()) == ("deleted", {}, set())


def test_a_refused_update_leaves_the_machine_as_it_is(world):
    [user] = have_active_users(world, 1)
    before = machine_ids(world)
    world.sql("update public.fly_plans set memory_mb = 1024 where tier = 'elite'")
    refuse(world, "POST", f"{MACHINES}/*", LIMIT, 422)
    world.set_tier(user, "elite")
    world.settle(3)
    assert world.row(user)["error_code"] == "quota"
    assert [machine.state for machine in world.sim.machines()] == ["started"]
    world.set_faults()
    world.settle()
    assert (machine_ids(world), destroys(world)) == (before, 0)
    assert world.sim.machines()[0].config["guest"]["memory_mb"] == 1024


@pytest.mark.slow
def test_one_cause_of_the_organisation_is_one_alert_for_the_fleet(world):
    """C12: twelve users under a revoked token are one alert, which counts them and ends when Fly accepts."""
    users = world.add_users(["pro"] * 12)
    refuse(world, "POST", "/v1/apps", "Authenticate: token validation error", 401)
    world.sweep(drain_only=True)
    assert {world.row(user)["error_code"] for user in users} == {"token"}
    assert {kind for kind, _ in world.open_alerts()} == {"fly_refused"}
    [(key, message)] = read_alert(world)
    assert key == "token"
    assert "12 user(s)" in message
    assert sum(f"{str(user)[:8]}@example.test" in message for user in users) == 3
    world.set_faults()
    # Only one of them is due: Fly accepts it, and the others follow at once instead of after their own wait.
    world.sql("update public.user_fly_apps set next_attempt_at = hangar.now() where user_id = %s", users[0])
    world.sweep(drain_only=True)
    assert {world.row(user)["status"] for user in users} == {"active"}
    assert not world.open_alerts()


def test_an_alert_of_the_organisation_stays_while_one_user_has_its_cause(world):
    """A plan change, a departure and a failure of another kind take a user out of the cause; the sweep counts again."""
    users = world.add_users(["pro"] * 3)
    refuse(world, "POST", "/v1/apps", BILLING)
    world.sweep(drain_only=True)
    world.set_tier(users[0], "free")
    world.set_tier(users[1], "free")
    sweep_for(world, 600)
    [(key, message)] = read_alert(world)
    assert (key, "1 user(s)" in message) == ("billing", True)
    refuse(world, "POST", "/v1/apps", "could not resolve image", 422)
    world.settle(1)
    assert {kind for kind, _ in world.open_alerts()} == {"provision_failed"}


def test_a_refused_listing_is_the_same_alert(world):
    """The fleet cannot be listed for the cause that its users have: one alert, which ends when both are accepted."""
    have_active_users(world, 1)
    late = world.add_user("pro")
    world.set_faults(
        *(
            {"method": method, "path": path, "when": "before", "status": 403, "body": {"error": BILLING}}
            for method, path in (("GET", "/v1/orgs/*/machines"), ("POST", "/v1/apps"))
        )
    )
    for _ in range(3):
        world.clock.advance(300)
        with pytest.raises(Exception, match="pay the open invoice"):
            world.sweep()
    assert {alert for alert in world.open_alerts() if alert[0] != "provisioning_slow"} == {("fly_refused", "billing")}
    refuse(world, "GET", "/v1/orgs/*/machines", BILLING)
    world.clock.advance(1900)
    with pytest.raises(Exception, match="pay the open invoice"):
        world.sweep()
    assert world.row(late)["status"] == "active"
    assert world.open_alerts() == {("fly_refused", "billing")}
    world.set_faults()
    world.clock.advance(300)
    world.sweep()
    assert not world.open_alerts()


def test_a_token_that_may_only_read_is_named_as_the_cause(world):
    """Fly shows the app as ours and answers 403 `unauthorized` to every change: the app is not somebody else's."""
    user = world.add_user("pro")
    refuse(world, "POST", MACHINES, "unauthorized")
    world.settle(2)
    row = world.row(user)
    assert (row["error_code"], row["name_seq"], len(world.apps())) == ("token", 0, 1)
    assert "unauthorized" in row["error_message"]


def test_what_was_done_without_effect_says_what_fly_answered(world):
    """A conflict that never ends: the words of the last one are on the row."""
    user = world.add_user("pro")
    refuse(world, "POST", MACHINES, "aborted: the moon is in the way", 409)
    world.sweep(drain_only=True)
    row = world.row(user)
    assert row["error_code"] == "no_progress"
    assert "the moon is in the way" in row["error_message"]


def test_a_refusal_to_show_orphans_is_one_alert(world):
    """Three apps of ours that no row owns, and Fly refuses to show any of them."""
    with open_client(world.sim) as fly:
        for number in range(3):
            network = network_name(world.installation_id, UUID(int=number + 1))
            body = {"app_name": f"lost-{number}", "org_slug": ORG, "network": network}
            fly.post("/v1/apps", json=body).raise_for_status()
    refuse(world, "GET", "/v1/apps/*", BILLING)
    world.sweep()
    assert len(read_alert(world, "orphan_look")) == 1
    assert len(world.apps()) == 3


def test_an_image_named_like_an_invoice_is_an_image(world):
    """It cannot be pulled. Nobody is told to pay, and like every missing image it waits for a person."""
    world.sql("update hangar.settings set default_image = 'registry.fly.io/billing-app:v7'")
    refuse(world, "POST", MACHINES, "failed to get manifest registry.fly.io/billing-app:v7: not found", 422)
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    assert (world.row(user)["status"], world.row(user)["error_code"]) == ("error", "image")
    assert read_alert(world) == []
    assert [key for key, _ in read_alert(world, "provision_failed")] == ["image/registry.fly.io/billing-app:v7"]


def test_an_app_named_like_a_payment_is_adopted(world):
    """The answer to its creation was lost, and then Fly says which machine has the name: it is taken over, not given up."""
    world.sql("update hangar.settings set app_prefix = 'payments-app'")
    lost = {
        "method": "POST",
        "path": MACHINES,
        "when": "after",
        "status": 504,
        "body": {"error": "timeout"},
        "times": 1,
    }
    unseen = {"method": "GET", "path": MACHINES, "when": "before", "status": 200, "body": [], "times": 3}
    world.set_faults(lost, unseen)
    user = world.add_user("pro")
    for _ in range(12):
        world.clock.advance(60)
        world.sweep(drain_only=True)
    assert (world.row(user)["status"], world.row(user)["error_code"]) == ("active", None)
    assert len(world.apps()[world.row(user)["fly_app_name"]]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["pull-reverts", "missing"])
def test_a_new_machine_that_fails_is_the_users_own_failure(world, tag):
    """Fly makes machines again. That this one fails is no refusal of the organisation, which would hold every release."""
    world.sql("update hangar.settings set default_image = %s", f"registry.fly.io/vyx-app:{tag}")
    user = world.add_user("pro")
    refuse(world, "POST", MACHINES, LIMIT, 422)
    world.settle(2)
    assert (world.row(user)["error_code"], [key for key, _ in read_alert(world)]) == ("quota", ["quota"])
    world.set_faults()
    world.clock.advance(HOUR)
    world.settle(2)
    row = world.row(user)
    assert (row["status"], row["error_code"]) in {("error", "machine_failed"), ("error", "image")}
    assert world.open_alerts() <= {
        ("provision_failed", str(row["id"])),
        ("provision_failed", f"image/{row['docker_image']}"),
    }
    made = count_creates(world)
    sweep_for(world, 2 * HOUR, 60)
    assert count_creates(world) - made < 20, "the waits between the attempts grow"
    assert "image" in row["error_message"] or "failed to start" in row["error_message"]


def test_a_refusal_ends_when_fly_has_made_the_machine(world):
    """And not only when the machine is up: one that takes long, or never starts, held every release with the alert."""
    world.sql("update hangar.settings set default_image = 'registry.fly.io/vyx-app:slow-pull'")
    user = world.add_user("pro")
    refuse(world, "POST", MACHINES, LIMIT, 422)
    world.settle(2)
    assert [key for key, _ in read_alert(world)] == ["quota"]
    world.set_faults()
    world.clock.advance(HOUR)
    world.sweep(drain_only=True)
    row = world.row(user)
    assert (row["status"], row["error_code"], row["machine_state"]) == ("provisioning", None, "created")
    assert read_alert(world) == []


def count_creates(world):
    return world.sql(
        "select count(*) from public.user_fly_app_events where metadata ->> 'action' = 'create_machine'"
        " and status = 'succeeded'"
    )[0][0]
