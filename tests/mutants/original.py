"""Bugs planted in the upgrade of the original system's tables, and in `hangar adopt`."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_UPGRADE = "tests/postgres/test_original_upgrade.py"
_ADOPT = "tests/http/test_ops_adopt.py"

BUGS = (
    PlantedBug(
        "install-finds-two-living-rows-in-the-middle",
        Python("ops.install.apply", "_apply"),
        exactly("if upgrade and upgrade.refused:"),
        "if upgrade and upgrade.refused and not plan.pending:",
        "what forbids the upgrade is found before the first file",
        ("tests/postgres/test_original_upgrade.py::test_two_live_rows_of_some_users_are_named_and_nothing_is_changed",),
    ),
    PlantedBug(
        "legacy-app-is-synced",
        Sql("function hangar.apply_entitlement"),
        exactly("if v_row.desired_state = 'legacy' then"),
        "if false then",
        "nothing changes an app of the original system before it is adopted",
        (f"{_UPGRADE}::test_nothing_acts_on_a_legacy_app",),
    ),
    PlantedBug(
        "legacy-app-is-claimed",
        Sql("function public.fly_claim"),
        exactly("elsif v_row.desired_state = 'legacy' then"),
        "elsif false then",
        "no worker leases an app of the original system",
        (f"{_UPGRADE}::test_nothing_acts_on_a_legacy_app",),
    ),
    PlantedBug(
        "old-trigger-stays",
        Sql("function hangar.disable_original_triggers"),
        exactly("execute format('alter table %s disable trigger %I', v_trigger.relation, v_trigger.tgname);"),
        "null;",
        "the functions of the original system are not called beside Hangar",
        (f"{_UPGRADE}::test_the_old_trigger_is_off_and_its_neighbours_still_fire",),
    ),
    PlantedBug(
        "host-column-overwritten",
        Sql("function hangar.explain_not_original"),
        exactly("a.attname = any (hangar.new_columns(p_table));"),
        "false;",
        "a column of the host with a name of Hangar's is refused before anything is created",
        (f"{_UPGRADE}::test_every_column_that_hangar_adds_is_refused_as_a_column_of_the_host",),
    ),
    PlantedBug(
        "upgrade-stops-without-a-cause",
        Sql("function hangar.explain_not_original"),
        exactly("coalesce(hangar.explain_refused_parts(v_table), hangar.explain_refused_rows(p_table));"),
        "null;",
        "what would stop the upgrade is named before anything is created",
        (f"{_UPGRADE}::test_what_would_stop_the_upgrade_is_named_before_anything_is_created",),
    ),
    PlantedBug(
        "adopted-by-name-alone",
        Python("shared.reconcile.observer", "proves_ownership"),
        exactly("app.id == row.adopted_app_id"),
        "app.name == row.fly_app_name",
        "an adopted app is proved by the id that Fly gave it, not by its name",
        (f"{_ADOPT}::test_an_app_that_is_made_again_under_the_same_name_is_not_ours",),
    ),
    PlantedBug(
        "adopted-app-gets-a-second-machine",
        Python("shared.domain.adopted_machines", "find_adopted"),
        exactly("if row.adopted_app_id is None:"),
        "if True:",
        "an adopted app's machine with a name of its own is found before one more is created",
        ("tests/unit/test_adopted_machines.py::test_the_only_machine_is_taken_whatever_its_name",),
    ),
    PlantedBug(
        "closed-although-listed",
        Python("ops.adoption.judge", "_find_obstacle"),
        exactly("if look.app is None and look.is_listed:"),
        "if False:",
        "an app that Fly's list shows is not given up",
        (f"{_ADOPT}::test_an_app_that_fly_lists_and_denies_is_not_closed",),
    ),
)
