"""Bugs planted in what the command line prints, asks and records."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_TABLES = "tests/unit/test_ops_tables.py"
_APPS = "tests/http/test_ops_apps.py"
_MACHINE = "tests/http/test_ops_machine.py"
_BAD_INPUT = "tests/unit/test_ops_bad_input.py"
_HANDLING = "tests/postgres/test_alert_handling.py"

BUGS = (
    PlantedBug(
        "boxes-in-a-pipe",
        Python("ops.tables", "OutputConsole.print"),
        exactly("if self._is_plain and isinstance(part, DataTable):"),
        "if False:",
        "a pipe gets plain lines with tabs",
        (f"{_TABLES}::test_a_pipe_gets_a_header_and_one_tab_separated_line_for_each_row",),
    ),
    PlantedBug(
        "escapes-in-cells",
        Python("ops.tables", "DataTable.__init__"),
        exactly("[[one_line(value) for value in row] for row in rows]"),
        "[list(row) for row in rows]",
        "I9: text of other people cannot act on the terminal",
        (f"{_TABLES}::test_text_of_other_people_cannot_reach_the_terminal_or_make_a_line",),
    ),
    PlantedBug(
        "words-broken-in-tables",
        Python("ops.tables", "DataTable.__rich_console__"),
        exactly("if sum(least) <= free:"),
        "if True:",
        "no word is broken at a terminal of any width",
        (f"{_TABLES}::test_no_word_is_broken_at_a_terminal_of_any_width",),
    ),
    PlantedBug(
        "restart-while-paused",
        Python("ops.commands.restart", "restart"),
        exactly("if installation.database.read_overview().is_paused:"),
        "if False:",
        "I5: a restart is refused while Hangar is paused, before anything is done",
        (f"{_APPS}::test_restart_has_the_guards_of_the_dashboard",),
    ),
    PlantedBug(
        "any-name-signs-a-call",
        Python("functions.responses", "_CLI_ACTOR"),
        exactly('r"cli:[!-~]{1,100}"'),
        'r".*"',
        "I9: a signed call cannot pass for a signed-in operator",
        (f"{_APPS}::test_signed_calls_may_not_pass_for_a_signed_in_operator",),
    ),
    PlantedBug(
        "denial-without-reason",
        Python("ops.commands.access", "deny"),
        exactly("is_required=True"),
        "is_required=False",
        "I8: whoever takes an app away says why",
        (f"{_APPS}::test_a_decision_needs_a_reason_and_a_known_user",),
    ),
    PlantedBug(
        "retry-of-every-cause",
        Python("ops.commands.retry", "_list_failing"),
        exactly('{"cause": cause}'),
        '{"status": "error"}',
        "a retry by cause hits only the apps with that cause",
        (f"{_APPS}::test_retry_by_cause_shows_what_it_hits_and_needs_a_yes",),
    ),
    PlantedBug(
        "command-without-intent",
        Python("ops.commands.machine", "_run_on_record"),
        exactly('record("intent")'),
        "pass",
        "I8: a command in a machine is on record before it runs",
        (f"{_MACHINE}::test_exec_runs_a_command_on_record",),
    ),
    PlantedBug(
        "lost-command-failed",
        Python("ops.commands.machine", "_run_on_record"),
        exactly('"unknown" if isinstance(error, OutcomeUnknown) else "failed"'),
        '"failed"',
        "I8: a command whose answer is lost may have run",
        (f"{_MACHINE}::test_a_command_whose_answer_is_lost_is_recorded_as_unknown",),
    ),
    PlantedBug(
        "export-skips-equal-times",
        Python("ops.commands.export", "_read_all"),
        exactly("known = same + known if same == len(page) and page[-1][key] == last else same"),
        "known = same",
        "an export has every row once",
        (f"{_MACHINE}::test_export_reads_every_event_once_over_several_pages",),
    ),
    PlantedBug(
        "snooze-outlives-its-alert",
        Sql("function hangar.end_snoozes"),
        exactly("and a.resolved_at is null"),
        "",
        "an alert that has ended is not sent again",
        (f"{_HANDLING}::test_an_alert_that_ended_during_its_snooze_is_not_sent_again",),
    ),
    PlantedBug(
        "snooze-doubles-a-message",
        Sql("function hangar.end_snoozes"),
        exactly("and n.delivered_at is not null"),
        "",
        "a message that waits anyway is not sent twice",
        (f"{_HANDLING}::test_a_message_that_waits_anyway_is_not_sent_twice",),
    ),
    PlantedBug(
        "ended-alert-acknowledged",
        Sql("function hangar.lock_open_alert"),
        exactly("elsif v_alert.resolved_at is not null then"),
        "elsif false then",
        "only an open alert can be acknowledged",
        (f"{_HANDLING}::test_only_an_open_alert_can_be_handled",),
    ),
    PlantedBug(
        "report-replaces-a-device",
        Python("ops.migration.report", "find_unwritable"),
        exactly("if target.exists() and not target.is_file():"),
        "if False:",
        "a report never replaces a device, a pipe or a folder",
        (f"{_BAD_INPUT}::test_a_value_that_makes_no_sense_is_named_before_anything_is_done",),
    ),
    PlantedBug(
        "reason-of-any-length",
        Python("ops.cli_support", "_stop_if_long"),
        exactly("if len(reason) > MOST_REASON_CHARS:"),
        "if False:",
        "every command refuses a reason that is too long",
        (f"{_BAD_INPUT}::test_a_reason_that_is_too_long_is_refused_by_every_command",),
    ),
    PlantedBug(
        "key-shown-at-another-prompt",
        Python("ops.setup.values", "describe"),
        exactly('if text.startswith("sb_secret_"):'),
        "if False:",
        "a secret key at a prompt for something else is named by its kind",
        ("tests/unit/test_setup_values.py::test_an_address_that_is_not_the_projects_is_named",),
    ),
)
