"""Releases that move apps to another region: nobody runs twice, nobody loses the only machine, and what fails goes back."""

from dataclasses import dataclass, field

import pytest

from tests.support.boundaries import Boundaries, Killed
from tests.support.fault_schedule import by_hand
from tests.support.promises import find_wrong_prices
from tests.support.releases import (
    change,
    check_fleet_is_well,
    find_states,
    finish,
    operate,
    pass_minutes,
    read_digests,
    read_release,
    start_release,
)
from tests.support.sizes import size

RUNS = ("started", "starting")
NO_ROOM = {"error": "aborted: could not reserve resource for machine: insufficient CPUs"}


@dataclass
class NobodyTwice(Boundaries):
    """At every boundary, no app has two machines that run, and none is without a machine."""

    world: object = None
    wrong: list[str] = field(default_factory=list)
    act_at: int | None = None
    act: object = None

    def cross(self, where):
        if self.act_at is not None and self.passed >= self.act_at:
            self.act_at = None
            self.act()
        for name, machines in self.world.apps().items():
            running = [machine.id for machine in machines if machine.state in RUNS]
            if len(running) > 1:
                self.wrong.append(f"{where}: {name} runs twice: {running}")
            if self.world.watches_loss and not machines:
                self.wrong.append(f"{where}: {name} has no machine")
        super().cross(where)


def watch(world):
    world.watches_loss = True
    world.boundaries = NobodyTwice(world=world)
    world.reconciler = world.new_worker()
    return world.boundaries


@pytest.fixture
def fleet(world):
    """Six healthy users in sin."""
    world.sql("update hangar.settings set default_region = 'sin'")
    world.add_users(["pro", "elite"] * 3)
    world.settle()
    watch(world)
    return world


@pytest.fixture
def user(world):
    """One healthy user in sin."""
    world.sql("update hangar.settings set default_region = 'sin'")
    made = world.add_user("pro")
    world.settle()
    watch(world)
    return made


def regions(world):
    return sorted(machine.region for machines in world.apps().values() for machine in machines)


def running_regions(world):
    return [each.region for machines in world.apps().values() for each in machines if each.state == "started"]


def refuse_starts(world, machine):
    """From now on Fly has no room to start this machine; it replaces what was refused before."""
    path = f"/v1/apps/*/machines/{machine}/start"
    world.fault(method="POST", path=path, status=412, body=NO_ROOM, times=100_000)


def find_spares(world):
    return world.sql(
        "select fly_app_name from public.user_fly_apps where deleted_at is null"
        " and (spare_machine_id is not null or move_release_id is not null)"
    )


def check_rest(world, *, region, apps=6):
    """One running machine for each app, in this region, and no trace of a move."""
    pass_minutes(world, 6)
    assert regions(world) == [region] * apps
    check_fleet_is_well(world)
    assert (find_spares(world), list(find_wrong_prices(world)), world.boundaries.wrong) == ([], [], [])
    rows = "select distinct machine_region from public.user_fly_apps where deleted_at is null"
    assert world.sql(rows) == [(region,)]


def check_costs(world):
    """The intervals of one app never overlap, and name the machine and region that ran."""
    overlaps = world.sql(
        "select 1 from public.fly_cost_intervals a join public.fly_cost_intervals b"
        " on a.fly_app_id = b.fly_app_id and a.id < b.id"
        " where tstzrange(a.started_at, a.ended_at) && tstzrange(b.started_at, b.ended_at)"
    )
    assert overlaps == []
    billed = world.sql("select distinct region from public.fly_cost_intervals where ended_at is null")
    assert billed == world.sql("select distinct machine_region from public.user_fly_apps where deleted_at is null")


def test_a_release_moves_everybody_and_new_users_follow(fleet):
    before = read_digests(fleet)
    release = start_release(fleet, region="NRT, hkg")
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("completed", {"done"}), found
    assert {(each["previous_region"], each["region"]) for each in found["targets"]} == {("sin", "nrt")}
    check_rest(fleet, region="nrt")
    check_costs(fleet)
    assert read_digests(fleet) == before
    assert fleet.open_alerts() == set()
    fleet.add_user("pro")
    fleet.settle()
    assert regions(fleet) == ["nrt"] * 7
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0


def test_a_moved_tag_brings_no_other_image_with_a_move(world):
    """A region alone changes only the region, although the tag means something else by now."""
    image = "registry.fly.io/vyx-app:latest"
    world.sql("update hangar.settings set default_region = 'sin', default_image = %s", image)
    world.add_user("pro")
    world.settle()
    before = read_digests(world)
    world.control("PUT", "images", {image: {"digest": "sha256:" + "e" * 64}})
    found = finish(world, start_release(world, region="nrt"))
    assert (found["state"], regions(world)) == ("completed", ["nrt"]), found
    assert read_digests(world) == before


def test_a_region_and_an_image_move_together(fleet):
    found = finish(fleet, start_release(fleet, region="nrt", image="registry.fly.io/vyx-app:v2"))
    assert (found["state"], find_states(found)) == ("completed", {"done"}), found
    check_rest(fleet, region="nrt")
    assert len(set(read_digests(fleet).values())) == 1


@pytest.mark.parametrize("behaviour", ["crash-at-start", "never-ready", "missing", "crash-after-60s"])
def test_a_bad_image_in_the_new_region_goes_back_to_the_old_machine(fleet, behaviour):
    """The canary alone was touched, and runs on its former machine again."""
    before = {name: [machine.id for machine in machines] for name, machines in fleet.apps().items()}
    release = start_release(fleet, region="nrt", image=f"registry.fly.io/vyx-app:v2-{behaviour}")
    found = finish(fleet, release)
    assert found["state"] == "paused", found
    assert find_states(found) == {"pending", "reverted"}
    check_rest(fleet, region="sin")
    check_costs(fleet)
    assert {name: [machine.id for machine in machines] for name, machines in fleet.apps().items()} == before


def test_a_rollback_brings_everybody_back(fleet):
    release = start_release(fleet, region="nrt")
    finish(fleet, release)
    change(fleet, release, "rollback")
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("rolled_back", {"reverted"}), found
    check_rest(fleet, region="sin")
    assert fleet.sql("select default_region from hangar.settings") == [("sin",)]


def test_a_rollback_to_a_full_region_ends_with_the_former_image_where_the_app_runs(world, user):
    """The release does not roll back for ever; the next release may bring the app home."""
    before = world.row(user)["docker_image"]
    release = start_release(world, region="nrt", image="registry.fly.io/vyx-app:v2")
    assert finish(world, release)["state"] == "completed"
    world.control("PUT", "regions/sin", {"full": True})
    change(world, release, "rollback")
    found = finish(world, release)
    assert (found["state"], find_states(found)) == ("rolled_back", {"reverted"}), found
    assert "stays in nrt: sin has no room" in found["targets"][0]["reason"]
    assert world.row(user)["docker_image"].partition("@")[0] == before.partition("@")[0]
    check_rest(world, region="nrt", apps=1)
    world.control("PUT", "regions/sin", {"full": False})
    pass_minutes(world, 60)
    assert operate(world, "fly_releases")["differ"]["apps"] == 1
    assert finish(world, start_release(world, kind="plan"))["state"] == "completed"
    check_rest(world, region="sin", apps=1)


@pytest.mark.parametrize("hold_s", [0, 21600], ids=["deleted", "held"])
@pytest.mark.parametrize("returns", ["before", "after"])
def test_a_user_who_leaves_for_two_minutes_goes_back_with_the_others(world, user, hold_s, returns):
    """Whether the app was deleted meanwhile or not, and whether the user is back before the abort or after it."""
    world.allow_mass_losses()
    world.watches_loss = False
    world.sql("update hangar.settings set removal_hold_s = %s", hold_s)
    before = world.row(user)["docker_image"]
    release = start_release(world, region="nrt", image="registry.fly.io/vyx-app:v2", soak_s=1800)
    pass_minutes(world, 5)
    assert running_regions(world) == ["nrt"]
    world.set_tier(user, "free")
    pass_minutes(world, 2)
    if returns == "before":
        world.set_tier(user, "pro")
        pass_minutes(world, 6)
    change(world, release, "abort")
    assert finish(world, release)["state"] == "aborted"
    if returns == "after":
        world.set_tier(user, "pro")
        pass_minutes(world, 6)
    row = world.row(user)
    assert (row["docker_image"].partition("@")[0], row["region"]) == (before.partition("@")[0], "sin")
    if returns == "before":
        check_rest(world, region="sin", apps=1)


def test_a_full_region_touches_nobody_and_fails_nothing(fleet):
    """Fly says that it has no room before anything is stopped."""
    before = {name: [machine.id for machine in machines] for name, machines in fleet.apps().items()}
    fleet.control("PUT", "regions/nrt", {"full": True})
    release = start_release(fleet, region="nrt", deadline_s=300)
    found = finish(fleet, release, minutes=120)
    assert find_states(found) == {"skipped"}, found
    assert not fleet.sql("select 1 from hangar.release_targets where failed_at is not null")
    assert {each["code"] for each in found["targets"]} == {"region_full"}
    check_rest(fleet, region="sin")
    assert {name: [machine.id for machine in machines] for name, machines in fleet.apps().items()} == before


@pytest.mark.parametrize("by", ["stop", "destroy"])
@pytest.mark.parametrize("hold", [None, "brake"])
def test_a_machine_that_stops_while_the_new_region_is_full_is_repaired_where_it_is(world, user, by, hold):
    """Nobody stays down until the deadline because there is no room for the move."""
    world.control("PUT", "regions/nrt", {"full": True})
    release = start_release(world, region="nrt", deadline_s=7200)
    pass_minutes(world, 2)
    row = world.row(user)
    assert row["error_code"] == "region_full"
    if hold:
        world.sql("select hangar.raise_alert('brake', 'fleet', 'test')")
    world.watches_loss = False
    with by_hand(world) as fly:
        path = f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}"
        assert (fly.post(f"{path}/stop") if by == "stop" else fly.delete(f"{path}?force=true")).is_success
    pass_minutes(world, 8)
    assert running_regions(world) == ["sin"]
    pass_minutes(world, 8)
    assert find_states(read_release(world, release)) == {"skipped"}
    assert world.row(user)["status"] == "active"


@pytest.mark.parametrize("status", [409, 412])
def test_no_room_at_the_start_runs_the_old_machine_again_within_minutes(world, user, status):
    """The new machine exists but does not start for want of room, so the old one is started again at once."""
    old = world.row(user)["machine_id"]
    body = {"error": "aborted: could not reserve resource for machine: insufficient CPUs"}
    world.fault(method="POST", path="/v1/apps/*/machines/*/start", status=status, body=body, times=1)
    release = start_release(world, region="nrt", deadline_s=3600)
    down = 0
    for minute in range(30):
        world.clock.advance(60)
        world.sweep(drain_only=minute % 5 != 4)
        down += not any(machine.state == "started" for machines in world.apps().values() for machine in machines)
    found = read_release(world, release)
    assert find_states(found) == {"skipped"}, found
    assert down <= 4
    assert world.row(user)["machine_id"] == old
    check_rest(world, region="sin", apps=1)


def test_the_old_machine_stays_until_the_release_is_done_with_the_app(world, user):
    release = start_release(world, region="nrt", soak_s=600)
    pass_minutes(world, 5)
    found = read_release(world, release)
    assert find_states(found) == {"verifying"}
    (machines,) = world.apps().values()
    assert sorted((machine.region, machine.state) for machine in machines) == [("nrt", "started"), ("sin", "stopped")]
    assert world.open_alerts() == set()
    pass_minutes(world, 30)
    assert find_states(read_release(world, release)) == {"done"}
    check_rest(world, region="nrt", apps=1)


def test_the_sweep_leaves_a_move_alone(world, user):
    """During the soak an app has two machines. No sweep makes it due, repairs it or calls it a stray."""
    start_release(world, region="nrt", soak_s=3600)
    pass_minutes(world, 5)
    calls = world.watch_calls()
    pass_minutes(world, 15)
    assert [call for call in calls if call[0] != "GET"] == []
    assert world.row(user)["health_status"] == "healthy"
    assert not world.sql("select 1 from public.user_fly_app_events where event_type = 'recovery_attempted'")


def test_a_spare_that_somebody_starts_is_stopped_again(world, user):
    start_release(world, region="nrt", soak_s=3600)
    pass_minutes(world, 5)
    (machines,) = world.apps().values()
    (spare,) = [machine for machine in machines if machine.region == "sin"]
    app = world.row(user)["fly_app_name"]
    world.boundaries.wrong.clear()
    with by_hand(world) as fly:
        assert fly.post(f"/v1/apps/{app}/machines/{spare.id}/start").is_success
    pass_minutes(world, 6)
    (machines,) = world.apps().values()
    assert sorted((machine.region, machine.state) for machine in machines) == [("nrt", "started"), ("sin", "stopped")]


@pytest.mark.parametrize(("period", "left"), [("grace", []), ("hold", ["nrt"])])
def test_a_spare_that_somebody_starts_after_the_user_has_left_is_stopped_again(world, user, period, left):
    """In the grace nothing runs; in the removal hold the app's own machine alone does."""
    world.allow_mass_losses()
    world.watches_loss = False
    if period == "grace":
        world.sql("update public.fly_plans set grace_s = 86400")
    else:
        world.sql("update hangar.settings set removal_hold_s = 21600")
    start_release(world, region="nrt", soak_s=1800)
    pass_minutes(world, 5)
    world.set_tier(user, "free")
    pass_minutes(world, 10)
    assert running_regions(world) == left
    row = world.row(user)
    world.boundaries.wrong.clear()
    with by_hand(world) as fly:
        assert fly.post(f"/v1/apps/{row['fly_app_name']}/machines/{row['spare_machine_id']}/start").is_success
    pass_minutes(world, 8)
    assert running_regions(world) == left


@pytest.mark.parametrize("lost", ["nrt", "sin"])
def test_a_machine_that_somebody_destroys_meanwhile(world, user, lost):
    """The app's own machine is made again, the spare is not missed."""
    release = start_release(world, region="nrt", soak_s=1800)
    pass_minutes(world, 5)
    (machines,) = world.apps().values()
    world.watches_loss = False
    (gone,) = [machine for machine in machines if machine.region == lost]
    app = world.row(user)["fly_app_name"]
    with by_hand(world) as fly:
        assert fly.delete(f"/v1/apps/{app}/machines/{gone.id}?force=true").is_success
    pass_minutes(world, 90)
    assert read_release(world, release)["state"] in ("completed", "paused")
    found = finish(world, release)
    region = "nrt" if found["state"] == "completed" else "sin"
    check_rest(world, region=region, apps=1)


@pytest.mark.parametrize("setting", ["paused", "deletes_paused"])
def test_a_pause_in_the_middle_holds_the_move(world, user, setting):
    release = start_release(world, region="nrt", soak_s=120)
    pass_minutes(world, 2)
    world.sql(f"update hangar.settings set {setting} = true")
    pass_minutes(world, 30)
    (machines,) = world.apps().values()
    assert len(machines) == 2
    world.sql(f"update hangar.settings set {setting} = false")
    assert finish(world, release)["state"] == "completed"
    check_rest(world, region="nrt", apps=1)


def test_paused_deletions_leave_nobody_down(world, user):
    """The new machine never starts. Going back destroys nothing, so a pause of the deletions does not hold it."""
    release = start_release(world, region="nrt", deadline_s=600)
    refuse_starts(world, "*")
    pass_minutes(world, 1)
    world.sql("update hangar.settings set deletes_paused = true")
    refuse_starts(world, world.row(user)["machine_id"])
    pass_minutes(world, 30)
    assert running_regions(world) == ["sin"]
    assert find_states(read_release(world, release)) == {"skipped"}
    assert regions(world) == ["nrt", "sin"]


def _prepare_overlapping(world):
    """One user in sin whose list allows nrt as well."""
    world.sql("update hangar.settings set default_region = 'sin,nrt'")
    user = world.add_user("pro")
    world.settle()
    watch(world)
    return user


def test_a_new_machine_that_never_starts_goes_back_although_the_list_allows_both_regions(world):
    user = _prepare_overlapping(world)
    release = start_release(world, region="nrt", deadline_s=600)
    refuse_starts(world, "*")
    pass_minutes(world, 1)
    refuse_starts(world, world.row(user)["machine_id"])
    pass_minutes(world, 5)
    assert running_regions(world) == ["sin"]
    assert finish(world, release)["state"] in ("paused", "completed")
    assert find_states(read_release(world, release)) == {"skipped"}
    check_rest(world, region="sin", apps=1)


def test_an_abort_in_the_soak_goes_back_although_the_list_allows_both_regions(world):
    _prepare_overlapping(world)
    release = start_release(world, region="nrt", soak_s=1200)
    pass_minutes(world, 5)
    assert running_regions(world) == ["nrt"]
    change(world, release, "abort")
    found = finish(world, release)
    assert (found["state"], find_states(found)) == ("aborted", {"reverted"}), found
    check_rest(world, region="sin", apps=1)
    check_costs(world)


def test_the_brake_counts_no_move(fleet):
    """Moves take nothing away from anybody, so they use up nothing of the destroy budget."""
    fleet.sql("update hangar.settings set brake_floor = 2, brake_share = 0")
    release = start_release(fleet, region="nrt")
    assert finish(fleet, release)["state"] == "completed"
    assert operate(fleet, "fly_brake_status")["destroyed_last_hour"] == 0
    check_rest(fleet, region="nrt")


def test_an_on_demand_app_is_skipped_and_named(fleet):
    fleet.sql("update public.fly_plans set power = 'on_demand', public_service = true where tier = 'pro'")
    (sleeper,) = fleet.add_users(["pro"])
    fleet.settle()
    shown = operate(fleet, "fly_create_release", p_release={"region": "nrt"}, p_actor="ops", p_dry_run=True)
    assert shown["left_out"] == {"on_demand": 1}
    release = start_release(fleet, region="nrt")
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("completed", {"done", "skipped"})
    assert fleet.row(sleeper)["machine_region"] == "sin"


def test_an_app_that_becomes_on_demand_in_the_middle_is_skipped_and_named(world, user):
    """The release does not call it moved. An abort puts back what the app got of the release all the same."""
    world.sql("update public.fly_plans set power = 'on_demand', public_service = true where tier = 'elite'")
    before = world.row(user)["docker_image"]
    release = start_release(world, region="nrt", image="registry.fly.io/vyx-app:v2", soak_s=60)
    world.control("PUT", "regions/nrt", {"full": True})
    pass_minutes(world, 3)
    world.set_tier(user, "elite")
    pass_minutes(world, 30)
    (target,) = read_release(world, release)["targets"]
    assert (target["state"], target["code"]) == ("skipped", "on_demand")
    assert regions(world) == ["sin"]
    change(world, release, "abort")
    assert finish(world, release)["state"] == "aborted"
    pass_minutes(world, 6)
    row = world.row(user)
    assert (row["docker_image"].partition("@")[0], row["region"], row["status"]) == (
        before.partition("@")[0],
        "sin",
        "active",
    )


def test_drift_brings_an_edited_region_to_the_fleet(fleet):
    """An edited plan moves nobody; the release does."""
    fleet.sql("update hangar.settings set default_region = 'nrt'")
    pass_minutes(fleet, 10)
    assert regions(fleet) == ["sin"] * 6
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 6
    assert finish(fleet, start_release(fleet, kind="plan"))["state"] == "completed"
    check_rest(fleet, region="nrt")
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0


def test_drift_moves_a_machine_that_runs_outside_its_list(world, user):
    """A user of another plan keeps the machine where it is, which is drift, until a release repairs it."""
    world.sql("update public.fly_plans set region = 'nrt' where tier = 'elite'")
    world.set_tier(user, "elite")
    pass_minutes(world, 10)
    assert regions(world) == ["sin"]
    assert ("drift", "region") in world.open_alerts()
    assert operate(world, "fly_releases")["differ"]["apps"] == 1
    assert finish(world, start_release(world, kind="plan"))["state"] == "completed"
    check_rest(world, region="nrt", apps=1)
    assert world.open_alerts() == set()


def test_a_release_of_an_image_moves_nobody(world, user):
    """A machine outside its list is moved by a release for regions or drift alone."""
    world.sql("update public.fly_plans set region = 'nrt' where tier = 'elite'")
    world.set_tier(user, "elite")
    pass_minutes(world, 10)
    assert finish(world, start_release(world, image="registry.fly.io/vyx-app:v2"))["state"] == "completed"
    assert regions(world) == ["sin"]


def test_a_user_with_another_tier_keeps_the_region_of_the_release(world, user):
    world.add_user("pro")
    world.settle()
    release = start_release(world, region="nrt", users=[str(user)])
    assert finish(world, release)["state"] == "completed"
    world.set_tier(user, "elite")
    world.settle()
    assert (world.row(user)["region"], world.row(user)["machine_region"]) == ("nrt", "nrt")
    assert regions(world) == ["nrt", "sin"]


BAD = (
    {"region": "mars"},
    {"region": ""},
    {"region": " , "},
    {"region": 5},
    {"region": ["nrt"]},
    {"region": "sin,bom"},
    {"kind": "plan", "region": "nrt"},
    {"region": "sin"},
    {"region": "apac"},
)


@pytest.mark.parametrize("spec", BAD, ids=str)
def test_a_bad_region_is_refused_and_nothing_moves(fleet, spec):
    """The last two need nobody: everybody is there already, but a new list is given without a move."""
    if spec == {"region": "apac"}:
        found = finish(fleet, start_release(fleet, **spec))
        assert found["state"] == "completed"
        check_rest(fleet, region="sin")
        return
    with pytest.raises(Exception, match=r"region|no app needs"):
        operate(fleet, "fly_create_release", p_release=spec, p_actor="ops")
    assert fleet.sql("select count(*) from hangar.releases") == [(0,)]


def _prepare(world):
    world.sql("update hangar.settings set default_region = 'sin'")
    user = world.add_user("pro")
    world.settle()
    return user


FORWARD, BACK = "good", "never-ready"


@pytest.mark.sized
@pytest.mark.parametrize("image", [FORWARD, BACK], ids=["forward", "back"])
def test_death_at_every_boundary_of_a_move(world, image):
    """The process dies at each boundary in turn. The next one continues: nobody runs twice, and one machine is left."""
    step = 3 * size("DEATH_STEP")
    user = _prepare(world)
    boundaries = watch(world)
    here, there = "sin", "nrt"
    die_at, deaths = 0, 0
    while True:
        boundaries.passed, boundaries.die_at = 0, die_at
        tag = f"registry.fly.io/vyx-app:r{die_at}-{image}"
        release = start_release(world, region=there, image=tag, soak_s=60, deadline_s=300)
        died = False
        for minute in range(60):
            world.clock.advance(60)
            try:
                world.sweep(drain_only=minute % 5 != 4)
            except Killed:
                died = True
                boundaries.die_at = None
                world.reconciler = world.new_worker()
            if read_release(world, release)["state"] in ("completed", "paused") and minute > 8:
                break
        boundaries.die_at = None
        found = finish(world, release)
        assert boundaries.wrong == []
        if image == BACK:
            assert (found["state"], find_states(found)) == ("paused", {"reverted"}), (die_at, found)
            change(world, release, "abort")
            finish(world, release)
            check_rest(world, region=here, apps=1)
        else:
            assert (found["state"], find_states(found)) == ("completed", {"done"}), (die_at, found)
            check_rest(world, region=there, apps=1)
            here, there = there, here
        assert world.row(user)["status"] == "active"
        if not died:
            break
        deaths += 1
        die_at += step
    assert deaths >= 40 // step
    check_costs(world)


@pytest.mark.sized
@pytest.mark.parametrize("change_of_mind", ["free", "elite", "deny", "free and back", "abort"])
def test_a_change_at_every_boundary_of_a_move(world, change_of_mind):
    """Another tier, the end of a subscription, or an abort in the middle of a move: the last word holds; nobody runs twice."""
    step = 3 * size("DEATH_STEP")
    world.allow_mass_losses()
    at = 0
    while True:
        user = _prepare(world)
        boundaries = watch(world)
        world.watches_loss = False
        release = start_release(world, region="nrt", users=[str(user)], soak_s=60)
        acted = []

        def act(user=user, release=release, acted=acted):
            acted.append(read_release(world, release)["state"])
            if change_of_mind == "abort" and acted == ["rolling"]:
                change(world, release, "abort")
            elif change_of_mind == "deny":
                sql = "select public.fly_set_override(%s, 'deny', null, 'ops', 'test')"
                world.sql(sql, user)
            elif change_of_mind != "abort":
                world.set_tier(user, change_of_mind.partition(" ")[0])
                if change_of_mind.endswith("back"):
                    world.set_tier(user, "pro")

        boundaries.act_at, boundaries.act = at, act
        pass_minutes(world, 12)
        finish(world, release)
        world.settle(3)
        assert boundaries.wrong == []
        if not acted or acted == ["completed"]:
            break
        row = world.row(user)
        if change_of_mind in ("free", "deny"):
            assert row["status"] == "deleted", (at, row)
            assert row["fly_app_name"] not in world.apps()
        else:
            (machine,) = world.apps()[row["fly_app_name"]]
            assert (row["status"], machine.state, machine.id) == ("active", "started", row["machine_id"]), (at, row)
            assert machine.region in row["region"].split(","), (at, row)
            if change_of_mind == "abort":
                assert machine.region == "sin"
        assert find_spares(world) == []
        at += step
    assert at > 20
    check_costs(world)
