"""Plans with a public service: the app has its two free addresses before it is active, and none that is left over."""

from contextlib import suppress

import pytest

from local.fly.transport import open_client
from shared.domain.errors import HangarError
from tests.support.boundaries import Killed

ADDRESSES = "/v1/apps/*/ip_assignments"


@pytest.fixture
def public(world):
    """The world in which `elite` has a public service and `pro` has none."""
    world.sql("update public.fly_plans set public_service = true where tier = 'elite'")
    return world


def on_fly(world):
    """The kinds of addresses of each app."""
    return {name: sorted(address.kind for address in app.addresses) for name, app in world.sim.apps.items()}


def remembered(world, user):
    found = world.row(user)["addresses"]
    return found if found is None else sorted(each["kind"] for each in found)


def provision(world, user):
    with suppress(HangarError):
        return world.reconciler.reconcile(user, 240, force=True)
    return None


@pytest.mark.slow
def test_a_public_app_has_its_addresses_before_it_is_active(public):
    """C7: `<app>.fly.dev` answers only then; each call has its intent and outcome."""
    user = public.add_user("elite")
    public.fault(method="POST", path=ADDRESSES, when="before", status=503)
    provision(public, user)
    assert public.row(user)["status"] != "active"
    public.set_faults()
    public.settle()
    row = public.row(user)
    assert (row["status"], on_fly(public)) == ("active", {row["fly_app_name"]: ["shared_v4", "v6"]})
    assert remembered(public, user) == ["shared_v4", "v6"]
    made = [meta["address"] for kind, status, meta in public.events(user) if status == "intent" and "address" in meta]
    assert set(made) == {"shared_v4", "v6"}
    assert not public.open_alerts()


@pytest.mark.slow
def test_a_private_app_gets_none_and_costs_no_call(public):
    user = public.add_user("pro")
    calls = public.watch_calls()
    provision(public, user)
    public.settle()
    assert (list(on_fly(public).values()), remembered(public, user)) == ([[]], None)
    assert not [path for _, path in calls if "ip_assignments" in path]


def test_a_change_of_plan_assigns_and_releases(public):
    """Private to public and back, twice: the machine stays, and a private app is not reachable."""
    user = public.add_user("pro")
    provision(public, user)
    machine = public.row(user)["machine_id"]
    for tier, kinds in (("elite", ["shared_v4", "v6"]), ("pro", []), ("elite", ["shared_v4", "v6"]), ("pro", [])):
        public.set_tier(user, tier)
        provision(public, user)
        assert (public.row(user)["status"], list(on_fly(public).values())) == ("active", [kinds]), tier
        assert remembered(public, user) == (kinds or None)
        assert len(public.sim.machines()[0].config.get("services") or []) == (tier == "elite")
    assert public.row(user)["machine_id"] == machine


@pytest.mark.parametrize("dies", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("then", ["elite", "pro", "free"])
def test_a_crash_between_call_and_save_leaves_neither_two_nor_a_forgotten_one(public, dies, number, then):
    """The process dies around one of the two calls, and meanwhile the user may change the plan or leave."""
    user = public.add_user("elite")
    boundary = f"{dies} POST"
    seen = []

    def die(where):
        if where.startswith(boundary) and where.endswith("/ip_assignments"):
            seen.append(where)
            if len(seen) == number:
                raise Killed

    cross = public.boundaries.cross
    public.boundaries.cross = lambda where: (die(where), cross(where))
    with pytest.raises(Killed):
        public.reconciler.reconcile(user, 240)
    public.boundaries.cross = cross
    public.set_tier(user, then)
    public.settle()
    expected = {"elite": [["shared_v4", "v6"]], "pro": [[]], "free": []}[then]
    assert list(on_fly(public).values()) == expected
    assert public.row(user)["status"] == ("deleted" if then == "free" else "active")


@pytest.mark.parametrize("number", [1, 2])
def test_a_lost_answer_does_not_assign_a_second_address(public, number):
    """The address exists and nobody was told: the next attempt lists before it assigns."""
    user = public.add_user("elite")
    answered = [{"method": "POST", "path": ADDRESSES, "when": "after", "delay_s": 1, "times": 1}] * (number - 1)
    public.set_faults(*answered, {"method": "POST", "path": ADDRESSES, "when": "after", "disconnect": True, "times": 1})
    provision(public, user)
    public.settle()
    assert (list(on_fly(public).values()), public.row(user)["status"]) == ([["shared_v4", "v6"]], "active")


@pytest.mark.parametrize("status", [409, 422])
def test_an_address_that_is_already_there_is_read_again(public, status):
    """The answer to the first call is lost; Fly refuses the second, and the list shows what exists."""
    user = public.add_user("elite")
    public.set_faults(
        {"method": "POST", "path": ADDRESSES, "when": "after", "disconnect": True, "times": 1},
        {"method": "GET", "path": ADDRESSES, "when": "before", "status": 200, "body": {"ips": []}, "times": 1},
        {
            "method": "POST",
            "path": ADDRESSES,
            "when": "before",
            "status": status,
            "body": {"error": "already there"},
            "times": 1,
        },
    )
    for _ in range(3):
        provision(public, user)
        public.clock.advance(400)
    public.settle()
    assert (list(on_fly(public).values()), public.row(user)["status"]) == ([["shared_v4", "v6"]], "active")


def test_a_refused_address_says_why_and_keeps_the_machine(public):
    user = public.add_user("elite")
    public.fault(method="POST", path=ADDRESSES, when="before", status=403, body={"error": "pay the open invoice"})
    public.settle(2)
    row = public.row(user)
    assert (row["status"], row["error_code"], len(public.sim.machines())) == ("error", "billing", 1)
    assert "pay the open invoice" in row["error_message"]
    public.set_faults()
    public.settle()
    assert (public.row(user)["status"], public.row(user)["machine_id"]) == ("active", row["machine_id"])


def test_addresses_that_hangar_did_not_assign_stay(public):
    """A dedicated IPv4 serves as well as the shared one and is never released; nor is a private or a second kind."""
    user = public.add_user("pro")
    provision(public, user)
    app = public.row(user)["fly_app_name"]
    with open_client(public.sim) as fly:
        for kind in ("v4", "private_v6"):
            fly.post(f"/v1/apps/{app}/ip_assignments", json={"type": kind, "network": ""}).raise_for_status()
    public.set_tier(user, "elite")
    provision(public, user)
    assert on_fly(public) == {app: ["private_v6", "v4", "v6"]}
    public.set_tier(user, "pro")
    provision(public, user)
    assert on_fly(public) == {app: ["private_v6", "v4"]}


def test_an_app_that_is_made_again_gets_its_addresses_again(public):
    """Deleted by hand on Fly, addresses and all."""
    user = public.add_user("elite")
    provision(public, user)
    with open_client(public.sim) as fly:
        fly.delete(f"/v1/apps/{public.row(user)['fly_app_name']}", params={"force": "true"})
    public.settle()
    assert (public.row(user)["status"], list(on_fly(public).values())) == ("active", [["shared_v4", "v6"]])


def test_addresses_go_with_the_app(public):
    user = public.add_user("elite")
    provision(public, user)
    public.set_tier(user, "free")
    public.settle()
    assert (on_fly(public), public.row(user)["status"], remembered(public, user)) == ({}, "deleted", None)
