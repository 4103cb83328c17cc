"""An error of one release pauses that release and is told. It never stops drains, sweeps, renewals or another release."""

import psycopg
import pytest

from shared.domain.errors import HangarError
from tests.support.releases import ACTOR, NEW, change, finish, operate, pass_minutes, read_release, start_release

MINUTE_S = 60


@pytest.fixture
def fleet(world):
    """Six apps of the plan pro with 2 vCPU. Nobody has the plan elite."""
    world.sql("update public.fly_plans set grace_s = 86400, cpu_kind = 'shared', cpu_count = 2, memory_mb = 1024")
    world.users = world.add_users(["pro"] * 6)
    world.settle()
    world.allow_mass_losses()
    return world


def run(world, minutes):
    """How many of the calls of `health` failed."""
    failed = 0
    for minute in range(minutes):
        world.clock.advance(MINUTE_S)
        try:
            world.sweep(drain_only=minute % 5 != 4)
        except HangarError:
            failed += 1
    return failed


def fail_steps_of(world, release, sqlstate):
    """From now on each step of this release ends in an error."""
    world.sql(
        "create function public.fail_step() returns trigger language plpgsql as $$ begin "
        f"raise exception 'planted error' using errcode = '{sqlstate}'; end $$"
    )
    world.sql(
        "create trigger fail_step before update of advanced_at on hangar.releases for each row "
        f"when (new.id = {release}) execute function public.fail_step()"
    )


def narrow_elite(world):
    world.sql("update public.fly_plans set cpu_count = 1, memory_mb = 512 where tier = 'elite'")


def add_narrow_plan(world):
    """A plan that did not exist when the release was started, and that its size does not fit."""
    world.sql(
        "insert into public.fly_plans select n.* from public.fly_plans p cross join lateral "
        """jsonb_populate_record(p, '{"tier": "mini", "cpu_count": 1, "memory_mb": 512}') n where p.tier = 'elite'"""
    )


def test_a_size_that_some_plan_cannot_have_is_refused(fleet):
    """The plans follow a release for everybody, also those that nobody has."""
    narrow_elite(fleet)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="the plan elite cannot follow this release"):
        start_release(fleet, memory_mb=4096)
    assert start_release(fleet, memory_mb=4096, tiers=["pro"])  # these plans can have it


def test_a_plan_that_was_edited_since_the_draft_refuses_the_start(fleet):
    draft = operate(fleet, "fly_create_release", p_release={"memory_mb": 4096}, p_actor=ACTOR)["id"]
    narrow_elite(fleet)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="the plan elite cannot follow this release"):
        change(fleet, draft, "start")
    assert read_release(fleet, draft)["state"] == "draft"


@pytest.mark.slow
def test_a_plan_that_refuses_the_release_at_its_end_pauses_only_the_release(fleet):
    """The plan was added while the release rolled. Every call of `health` succeeds, and everything else goes on."""
    release = start_release(fleet, memory_mb=4096, soak_s=30)
    add_narrow_plan(fleet)
    assert run(fleet, 40) == 0
    found = read_release(fleet, release)
    assert (found["state"], {each["state"] for each in found["targets"]}) == ("paused", {"done"})
    assert "1 shared vCPU with 4096 MB is refused by Fly" in found["reason"]
    assert fleet.open_alerts() == {("release_failed", str(release))}
    new = fleet.add_user("pro")
    fleet.set_tier(fleet.users[0], "free")
    assert run(fleet, 5) == 0
    assert fleet.row(new)["status"] == "active"
    assert fleet.row(fleet.users[0])["machine_state"] == "stopped"


@pytest.mark.slow
def test_a_release_that_paused_for_a_plan_completes_when_the_plan_is_changed(fleet):
    release = start_release(fleet, memory_mb=4096, soak_s=30)
    add_narrow_plan(fleet)
    run(fleet, 40)
    fleet.sql("update public.fly_plans set cpu_count = 2, memory_mb = 1024 where tier = 'mini'")
    change(fleet, release, "resume")
    assert finish(fleet, release)["state"] == "completed"
    assert not fleet.open_alerts()


def test_a_release_that_fails_in_every_step_does_not_hold_another_one(fleet):
    bad = start_release(fleet, env={"A": "1"}, users=[str(user) for user in fleet.users[:2]], soak_s=30)
    good = start_release(fleet, env={"B": "1"}, users=[str(user) for user in fleet.users[2:]], soak_s=30)
    fail_steps_of(fleet, bad, "P0001")
    assert run(fleet, 20) == 0
    assert read_release(fleet, good)["state"] == "completed"
    found = read_release(fleet, bad)
    assert (found["state"], found["reason"]) == ("paused", "it could not be moved on: planted error")
    assert fleet.open_alerts() == {("release_failed", str(bad))}


@pytest.mark.slow
@pytest.mark.parametrize("sqlstate", ["40P01", "57014", "55P03"], ids=["deadlock", "statement timeout", "lock timeout"])
def test_an_error_that_passes_pauses_nothing(fleet, sqlstate):
    """A deadlock or a statement that took too long is tried again; only one that lasts for ten minutes pauses the release."""
    release = start_release(fleet, env={"A": "1"}, soak_s=30)
    fail_steps_of(fleet, release, sqlstate)
    assert run(fleet, 8) == 0
    assert read_release(fleet, release)["state"] == "rolling"
    assert not fleet.open_alerts()
    fleet.sql("drop trigger fail_step on hangar.releases")
    assert finish(fleet, release)["state"] == "completed"
    # It has passed, so a later one has its ten minutes again.
    assert fleet.sql("select error_since from hangar.releases where id = %s", release) == [(None,)]


def test_an_error_that_should_pass_and_lasts_pauses_the_release(fleet):
    release = start_release(fleet, env={"A": "1"}, soak_s=30)
    fail_steps_of(fleet, release, "40P01")
    assert run(fleet, 20) == 0
    assert read_release(fleet, release)["state"] == "paused"
    assert fleet.open_alerts() == {("release_failed", str(release))}


def test_an_abort_counts_although_putting_back_raises_an_error(fleet):
    release = start_release(fleet, env={"A": "1"}, soak_s=600)
    pass_minutes(fleet, 2)
    fail_steps_of(fleet, release, "P0001")
    assert change(fleet, release, "abort")["state"] == "rolling_back"
    assert run(fleet, 5) == 0
    assert fleet.open_alerts() == {("release_failed", str(release))}
    fleet.sql("drop trigger fail_step on hangar.releases")
    assert finish(fleet, release)["state"] == "aborted"
    assert not fleet.open_alerts()


def test_a_look_that_cannot_be_recorded_pauses_only_its_release(fleet):
    release = start_release(fleet, image=NEW, soak_s=30)
    fleet.sql(
        "create function public.fail_look() returns trigger language plpgsql as $$ begin raise exception 'planted error'; end $$"
    )
    fleet.sql(
        "create trigger fail_look before update of looked_at on hangar.release_targets for each row"
        " when (new.looked_at is not null) execute function public.fail_look()"
    )
    assert run(fleet, 10) == 0
    assert read_release(fleet, release)["state"] == "paused"
    assert fleet.open_alerts() == {("release_failed", str(release))}


def test_an_error_of_no_single_release_is_told_and_stops_nothing_else(fleet):
    """The call ends in the error, after it has drained and swept."""
    start_release(fleet, image=NEW, soak_s=30)
    fleet.sql("alter function hangar.renew_tokens() rename to renew_tokens_away")
    new = fleet.add_user("pro")
    assert run(fleet, 5) == 5
    assert fleet.row(new)["status"] == "active"
    assert fleet.sql("select count(*) from hangar.sweeps where completed_at is not null") == [(1,)]
    assert fleet.open_alerts() == {("release_failed", "fleet")}
    fleet.sql("alter function hangar.renew_tokens_away() rename to renew_tokens")
    assert run(fleet, 5) == 0
    assert not fleet.open_alerts()


def test_a_canary_that_fails_after_the_operator_has_paused_is_told(fleet):
    """A pause lets what moves finish. If that fails, it is a failure like every other."""
    release = start_release(fleet, image="registry.fly.io/vyx-app:v2-never-ready", soak_s=30, deadline_s=120)
    pass_minutes(fleet, 1)
    change(fleet, release, "pause")
    pass_minutes(fleet, 20)
    found = read_release(fleet, release)
    assert found["state"] == "paused"
    assert "the canary failed" in found["reason"]
    assert fleet.open_alerts() == {("release_failed", str(release))}


def test_a_size_that_the_cap_on_cost_does_not_allow_is_refused(fleet):
    cost = fleet.sql("select sum(monthly_cost_estimate_usd) from public.user_fly_apps")[0][0]
    fleet.sql("update hangar.settings set max_monthly_cost_usd = %s", cost + 1)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="max_monthly_cost_usd"):
        start_release(fleet, memory_mb=4096, soak_s=30)
    assert start_release(fleet, env={"A": "1"})  # costs nothing


@pytest.mark.slow
def test_a_cap_that_is_lowered_meanwhile_is_named_and_is_no_failure(fleet):
    release = start_release(fleet, memory_mb=4096, soak_s=30, deadline_s=120)
    fleet.sql("update hangar.settings set max_monthly_cost_usd = 1")
    found = finish(fleet, release, minutes=60)
    assert found["state"] == "paused"
    assert {(each["state"], each["code"]) for each in found["targets"]} == {("skipped", "max_cost")}
    assert "max_monthly_cost_usd allows no larger machine now" in found["reason"]
    assert {machine.config["guest"]["memory_mb"] for (machine,) in fleet.apps().values()} == {1024}


@pytest.mark.parametrize(("share", "apps"), [(0.001, 1), (0.2, 2), (0.5, 3), (0.9, 6), (1, 6)])
def test_a_share_of_few_apps_is_rounded_up(fleet, share, apps):
    """By chance alone, 20 % of six apps would be anything from none to three."""
    for number in range(4):
        spec = {"image": f"registry.fly.io/vyx-app:t{number}", "share": share}
        made = operate(fleet, "fly_create_release", p_release=spec, p_actor=ACTOR, p_dry_run=True)
        assert sum(wave["size"] for wave in made["waves"]) == apps


@pytest.mark.parametrize("spec", [{"image": NEW}, {"kind": "plan"}], ids=["image", "plan"])
def test_a_share_is_drawn_once(fleet, spec):
    """The apps that have what the release brings do not make room for others."""
    fleet.sql("update hangar.settings set default_image = %s", NEW)
    release = start_release(fleet, share=0.3, soak_s=0, **spec)
    assert finish(fleet, release)["state"] == "completed"
    assert sum(machine.config["image"].startswith(NEW) for (machine,) in fleet.apps().values()) == 2
