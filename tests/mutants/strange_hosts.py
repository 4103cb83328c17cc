"""Bugs planted in what Hangar reads from hosts that it has not met, and in what it says about them."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_HOSTS = "tests/postgres/test_strange_hosts.py"
_SLOW = "tests/simulation/test_slow_host.py"
_SILENT = "tests/simulation/test_silent_apps.py"

BUGS = (
    PlantedBug(
        "zero-time-is-an-end",
        Sql("function hangar.to_time(p_value timestamptz)"),
        exactly("case when not isfinite(p_value) or p_value >= '1990-01-01 00:00:00+00' then p_value end"),
        "nullif(nullif(p_value, '0001-01-01 00:00:00+00'), '1970-01-01 00:00:00+00')",
        "I5: a time that a program writes for none takes no app",
        (f"{_HOSTS}::test_ends_that_programs_write_for_no_time",),
    ),
    PlantedBug(
        "for-ever-read-as-1978",
        Sql("function hangar.to_time(p_value double precision)"),
        exactly("between 946684800 and 253402300799 and"),
        "between 946684800 and 1e11 and",
        "I5: the last second of year 9999 is an end far ahead",
        (f"{_HOSTS}::test_a_new_user_with_an_end_far_ahead",),
    ),
    PlantedBug(
        "minutes-read-as-the-year-8390",
        Sql("function hangar.is_likely_time(p_seconds double precision)"),
        exactly("in (0, 86399)"),
        "is not null",
        "I4: a number that is no Unix time keeps no app for ever",
        (f"{_HOSTS}::test_a_number_that_is_no_unix_time_is_not_read_as_a_far_year",),
    ),
    PlantedBug(
        "planned-deletion-done-at-once",
        Sql("function hangar.is_deleted(p_value timestamptz)"),
        exactly("hangar.to_time(p_value) <= hangar.now() and isfinite(p_value)"),
        "p_value is not null",
        "I5: a user whose deletion is planned is not deleted",
        (f"{_HOSTS}::test_what_marks_a_deleted_user",),
    ),
    PlantedBug(
        "zero-flag-deletes",
        Sql("function hangar.is_deleted(p_value double precision)"),
        exactly("coalesce(p_value = 1, false)"),
        "coalesce(p_value >= 0, false)",
        "I5: the 0 of a soft delete deletes nobody",
        (f"{_HOSTS}::test_what_marks_a_deleted_user",),
    ),
    PlantedBug(
        "emptied-users-obeyed",
        Sql("function hangar.empty_host_table"),
        exactly("when hangar.has_no_users() then"),
        "when false then",
        "I5: an emptied table of users takes no app away",
        (f"{_HOSTS}::test_an_emptied_table_of_users_is_held",),
    ),
    PlantedBug(
        "old-table-followed",
        Sql("function hangar.find_source"),
        exactly("coalesce(to_regclass(p_binding.source), (select"),
        "coalesce((select c.oid from pg_catalog.pg_class c where c.oid = p_binding.source_oid), (select",
        "I1: a table that was exchanged is followed by its name",
        (f"{_HOSTS}::test_an_exchanged_table_is_followed_by_its_name",),
    ),
    PlantedBug(
        "function-known-by-its-arguments-names",
        Sql("function hangar.bind_function"),
        exactly("p_function::text, p_function,"),
        "(select format('%s(%s)', p.oid::regproc, pg_get_function_identity_arguments(p.oid)) from pg_catalog.pg_proc p"
        " where p.oid = p_function), p_function,",
        "I5: a function that is made again is found",
        (f"{_HOSTS}::test_a_function_that_is_made_again",),
    ),
    PlantedBug(
        "errors-of-the-host-end-the-sweep",
        Sql("function hangar.is_host_fault"),
        exactly("in ('40', '53', '57', '58')"),
        "not in ('42', '22', 'P0', '0A')",
        "I5, I8: whatever a bound function raises, Hangar works on and says so",
        (f"{_HOSTS}::test_a_bound_function_that_fails", f"{_HOSTS}::test_a_table_that_the_host_holds_locked"),
    ),
    PlantedBug(
        "subscriptions-of-nobody-in-silence",
        Sql("function hangar.check_unknown_users"),
        exactly("if v_unread + v_absent = 0 then"),
        "if v_absent = 0 then",
        "I8: who pays and gets nothing is told",
        (f"{_HOSTS}::test_subscriptions_of_nobody",),
    ),
    PlantedBug(
        "locked-host-holds-the-pages",
        Sql("function hangar.emails"),
        exactly("set lock_timeout = '500ms'"),
        "",
        "I8: a table that the host holds locked does not keep an operator from reading",
        (f"{_HOSTS}::test_locked_tables_do_not_hold_what_an_operator_reads",),
    ),
    PlantedBug(
        "slow-host-blinds-the-sweep",
        Python("shared.fleet.host_reading", "HostReading.catch_timeout"),
        exactly("if error.code != STATEMENT_TIMEOUT:"),
        "if error.code:",
        "I8: a host that is read too slowly does not keep health from being judged",
        (f"{_SLOW}::test_a_slow_host_is_told_and_health_is_judged",),
    ),
    PlantedBug(
        "crashes-between-looks-in-silence",
        Python("shared.fleet.health_probe", "_report_wanted"),
        exactly("explain_machine(row, machine, inventory) or explain_crashes(machine, now)"),
        "explain_machine(row, machine, inventory)",
        "I8: a program that fails again and again between two looks is told",
        (f"{_SILENT}::test_a_program_that_runs_out_of_memory_between_two_looks_alerts",),
    ),
    PlantedBug(
        "zero-time-of-fly-is-old",
        Python("shared.fly.models", "_since_fly"),
        exactly("return read if read >= _BEFORE_FLY else None"),
        "return read",
        "I2: a time stamp that Fly does not know makes no machine stuck",
        ("tests/unit/test_zero_times.py::test_a_time_before_fly_is_none",),
    ),
)
