"""Incidents in which Fly refused: no room, a quota, an image, a token, an invoice."""

import pytest

from tests.incidents.fleet import MINUTE, Fleet, answer, answer_everything

CREATE = "/v1/apps/*/machines"
WRITES = [("POST", "/v1/apps"), ("POST", CREATE), ("POST", f"{CREATE}/*"), ("POST", f"{CREATE}/*/start")]


def crash(fleet: Fleet, user: object) -> None:
    fleet.world.control("POST", f"machines/{fleet.world.row(user)['machine_id']}/crash", {})


@pytest.mark.slow
def test_a_region_has_no_room(fleet):
    """For about an hour no machine could be launched in ord, because no host had room.

    Source: https://fly.io/infra-log/ (update of 13 July 2024: 8 July).

    Machines that run are not touched, and nothing is destroyed to be made elsewhere. New users wait. The operator sees
    one `provision_failed` that names the region.
    """
    world = fleet.world
    world.control("PUT", "regions/iad", {"full": True})
    new = world.add_users(["pro"] * 3)
    fleet.pass_time(1)
    assert fleet.alerts == {("provision_failed", "region_full/iad")}
    assert "iad" in fleet.read_message("provision_failed")
    fleet.assert_untouched()
    world.control("PUT", "regions/iad", {})
    fleet.assert_well(hours=2)
    fleet.assert_untouched()
    assert {world.row(user)["status"] for user in new} == {"active"}


@pytest.mark.slow
def test_a_host_has_no_room_for_a_larger_machine(fleet):
    """Updates were answered 409 `insufficient memory`, which the client took for a conflict.

    Source: https://github.com/Kilo-Org/cloud/pull/412 (20 February 2026).

    A user upgrades and the host is full. The machine keeps running as it is until there is room. The operator sees one
    `provision_failed` with Fly's words.
    """
    world, user = fleet.world, fleet.users[0]
    world.sql("update public.fly_plans set memory_mb = 1024 where tier = 'elite'")
    told = {
        "error": "aborted: could not reserve resource for machine: insufficient memory available to fulfill request"
    }
    world.set_faults(answer("POST", f"{CREATE}/*", status=409, body=told))
    world.set_tier(user, "elite")
    fleet.pass_time(1)
    assert "insufficient memory" in world.row(user)["error_message"]
    assert fleet.kinds == {"provision_failed"}
    fleet.assert_untouched()
    world.set_faults()
    fleet.assert_well(hours=2)


@pytest.mark.slow
def test_the_organisation_is_over_its_memory_quota_in_a_region(fleet):
    """A product with one app for each user used 1,970,176 MB in dfw, and creates were answered 403.

    Source: https://github.com/Kilo-Org/cloud/pull/516 (24 February 2026).

    The client had taken the 403 for a matter of rights. Hangar reads the words: it is a limit. Running machines stay.
    The operator sees one alert for all users who wait.
    """
    world = fleet.world
    told = (
        'organization "acme" is using 1970176 MB of memory in iad which is over the allowed quota.'
        " please consider other regions"
    )
    world.set_faults(answer("POST", CREATE, status=403, body={"error": told}))
    new = world.add_users(["pro"] * 3)
    fleet.pass_time(1)
    assert {world.row(user)["error_code"] for user in new} == {"quota"}
    assert len(fleet.alerts) == 1
    assert "over the allowed quota" in fleet.read_message(*fleet.kinds)
    fleet.assert_untouched()
    world.set_faults()
    fleet.assert_well(hours=2)
    fleet.assert_untouched()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["422", "failed-machine"])
def test_the_registry_refuses_the_image(fleet, how):
    """Fly's registry gave errors all day; another time an image that was just pushed was not found.

    Source: https://fly.io/infra-log/ (update of 20 July 2024: 16 July);
    https://github.com/superfly/flyctl-actions/issues/35 (25 January 2023).

    Fly refuses the create, or accepts it and the machine fails. New users wait. What runs is not replaced, because it
    needs no image. The operator sees one `provision_failed` that names the image, or one for each user whose machine
    fails.
    """
    world = fleet.world
    if how == "422":
        world.set_faults(answer("POST", CREATE, status=422, body={"error": "image not found"}))
    else:
        world.control("PUT", "bad-images", ["app@sha256:1"])
    new = world.add_users(["pro"] * 2)
    fleet.pass_time(1, 10 * MINUTE)
    if how == "422":
        assert fleet.alerts == {("provision_failed", "image/app@sha256:1")}
        assert "image not found" in fleet.read_message("provision_failed")
    else:
        assert fleet.alerts == {("provision_failed", world.row(user)["id"]) for user in new}
        assert {world.row(user)["error_code"] for user in new} == {"machine_failed"}
    fleet.assert_untouched()
    world.set_faults()
    world.control("PUT", "bad-images", [])
    for user in new:
        world.sql("select public.fly_retry(%s, 'operator')", user)
    fleet.assert_well(hours=2)
    fleet.assert_untouched()
    assert {world.row(user)["status"] for user in new} == {"active"}


@pytest.mark.slow
def test_the_token_is_revoked(fleet):
    """Fly had reset tokens, and deploys failed until a person made a new one.

    Source: https://github.com/GiteaBot/gitea-backporter/issues/24 (1 April 2023).

    401 says nothing about an app: nothing is destroyed, no name is given up, and no app counts as gone. The operator
    sees one `fly_refused` with the key `token` for the fleet and all users who wait.
    """
    world, leaves = fleet.world, fleet.users.pop()
    del fleet.before[leaves]
    world.set_faults(*answer_everything(status=401, body={"error": "Authenticate: token validation error"}))
    new = world.add_users(["pro"] * 3)
    world.set_tier(leaves, "free")
    fleet.pass_time(3, 15 * MINUTE)
    assert fleet.alerts == {("fly_refused", "token")}
    fleet.assert_untouched()
    assert {world.row(user)["name_seq"] for user in new} == {0}
    world.set_faults()
    fleet.assert_well(hours=2)
    fleet.assert_untouched()


@pytest.mark.slow
def test_tokens_are_refused_now_and_then(fleet):
    """Fly failed to verify valid tokens of the Machines API now and then.

    Source: https://fly.io/infra-log/2025-05-17 (15 May 2025).

    Every kind of call is refused three times, then accepted, for an hour. Users get their apps without a person's help,
    and nobody loses anything. The operator may see `fly_refused`, which ends when Fly accepts.
    """
    world = fleet.world
    rules = answer_everything(status=401, body={"error": "Authenticate: token validation error"}, times=3)
    new = world.add_users(["pro"] * 2)
    for _ in range(4):
        world.set_faults(*rules)
        fleet.pass_time(0.25)
    assert fleet.alerts <= {("fly_refused", "token")}
    fleet.assert_untouched()
    world.set_faults()
    fleet.assert_well(hours=1.5)
    fleet.assert_untouched()
    assert {world.row(user)["status"] for user in new} == {"active"}


BILLING = "We need your payment information to continue! Add a credit card or buy credit"


@pytest.mark.slow
def test_fly_wants_payment_although_it_was_paid(fleet):
    """An organisation with a card and unused credit was refused every deploy until it pays.

    Source: https://github.com/superfly/flyctl/issues/981 (23 May 2022); https://github.com/superfly/flyctl/issues/546
    (28 September 2021: Fly had broken its link to the payment provider).

    For six hours every create, update and start is refused; one machine crashes meanwhile and cannot be started. It is
    not replaced: the same machine runs when Fly accepts again. The operator sees one `fly_refused` with Fly's words.
    """
    world, down = fleet.world, fleet.users[0]
    world.set_faults(*(answer(method, path, status=403, body={"error": BILLING}) for method, path in WRITES))
    crash(fleet, down)
    new = world.add_user("pro")
    fleet.pass_time(6, 15 * MINUTE)
    assert BILLING in fleet.read_message("fly_refused")
    assert fleet.alerts == {("fly_refused", "billing")}
    assert fleet.watch.taken == []
    world.set_faults()
    fleet.assert_well(hours=2)
    fleet.assert_untouched()
    assert world.row(new)["status"] == "active"


@pytest.mark.slow
def test_a_trial_stops_every_machine(fleet):
    """Fly stops the machines of a trial organisation, and refuses changes when the trial is spent.

    Source: superfly/docs, `about/free-trial`. The words of the refusal are not published; those below are an example.

    Hangar starts stopped machines again, is refused, and neither destroys nor doubles anything. The operator sees one
    `fly_refused` instead of one alert for each user.
    """
    world = fleet.world
    told = "Trial is over, please add a payment method to continue"
    world.set_faults(*(answer(method, path, status=403, body={"error": told}) for method, path in WRITES))
    for user in fleet.users:
        crash(fleet, user)
    fleet.pass_time(3, 15 * MINUTE)
    assert fleet.alerts == {("fly_refused", "billing")}
    assert told in fleet.read_message("fly_refused")
    assert fleet.watch.taken == []
    world.set_faults()
    fleet.assert_well(hours=2)
    fleet.assert_untouched()
