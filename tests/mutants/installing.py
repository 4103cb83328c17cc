"""Bugs planted in `hangar install` and `hangar uninstall`."""

from tests.mutants.places import Python
from tests.mutants.planted import PlantedBug, exactly

_INSTALL = "tests/postgres/test_install.py"
_INTO = "tests/postgres/test_install_into.py"
_UNINSTALL = "tests/postgres/test_uninstall.py"
_PROPOSAL = "tests/postgres/test_binding_proposal.py"

BUGS = (
    PlantedBug(
        "checksum-not-compared",
        Python("ops.install.ledger", "_read_ledger"),
        exactly("if checksum != known[version].checksum"),
        "if False",
        "a database that was installed from other files is left alone",
        (f"{_INSTALL}::test_a_file_with_another_checksum_is_named_and_nothing_is_changed",),
    ),
    PlantedBug(
        "ledger-row-outside-the-transaction",
        Python("ops.install.apply", "_apply_file"),
        exactly("with connection.transaction():"),
        "if True:",
        "a file and its ledger row are one transaction",
        (f"{_INSTALL}::test_killed_between_files_and_within_them_it_continues_where_it_was",),
    ),
    PlantedBug(
        "exported-file-runs-again",
        Python("ops.install.export", "_TEMPLATE"),
        exactly("if v_recorded = '{checksum}' then"),
        "if false then",
        "a file in the host's folder does nothing after `hangar install`",
        (f"{_INTO}::test_the_files_do_nothing_after_hangar_install",),
    ),
    PlantedBug(
        "export-before-the-hosts-last",
        Python("ops.install.export", "_choose_versions"),
        exactly("start = max(start, datetime.strptime(last, _STAMP).replace(tzinfo=UTC))"),
        "datetime.strptime(last, _STAMP).replace(tzinfo=UTC)",
        "exported files come after the host's last migration",
        ("tests/unit/test_install_export.py::test_a_host_whose_last_migration_is_newer_than_now_comes_first",),
    ),
    PlantedBug(
        "uninstall-forgets-apps",
        Python("ops.install.uninstall", "why_refused"),
        exactly("if found.live_apps or found.orphans:"),
        "if False:",
        "nothing is removed while an app may exist on Fly",
        (f"{_UNINSTALL}::test_it_refuses_while_an_app_may_exist",),
    ),
    PlantedBug(
        "uninstall-cascades-to-the-host",
        Python("ops.install.uninstall", "why_refused"),
        exactly("if found.dependents:"),
        "if False:",
        "no object of the host goes with Hangar",
        (f"{_UNINSTALL}::test_what_hangs_on_hangar_is_named_and_nothing_goes",),
    ),
    PlantedBug(
        "uninstall-by-name-alone",
        Python("ops.install.uninstall", "_find"),
        exactly("read_plan(connection, files).applied"),
        "files",
        "a table of the host with the name of one that Hangar never created stays",
        (
            f"{_UNINSTALL}::test_an_installation_that_stopped_halfway_is_removed_and_the_hosts_tables_of_the_same_name_stay",
        ),
    ),
    PlantedBug(
        "password-in-the-error",
        Python("ops.install.database_url", "parse_database_url"),
        exactly("if at and re.search("),
        "if False and re.search(",
        "no error shows a part of the password",
        ("tests/unit/test_install_url.py::test_a_wrong_url_is_named_by_its_source_and_its_password_is_not_shown",),
    ),
    PlantedBug(
        "proposal-writes",
        Python("ops.binding_samples", "read_only"),
        exactly('session.execute("set transaction read only")'),
        "pass",
        "looking for the subscriptions writes nothing, whatever the host's views call",
        (f"{_PROPOSAL}::test_a_view_that_writes_is_refused",),
    ),
    PlantedBug(
        "proposal-not-quoted",
        Python("ops.binding_proposal", "quote_literal"),
        exactly('text.replace("\'", "\'\'")'),
        "text",
        "the SQL of a proposal runs as it is printed, whatever the host's names are",
        (f"{_PROPOSAL}::test_names_with_spaces_quotes_and_capitals_are_quoted",),
    ),
    PlantedBug(
        "sample-ignores-the-end",
        Python("ops.binding_samples", "judge"),
        exactly("(end is not None and end <= now)"),
        "False",
        "a sample judgement is what the installed Hangar says",
        (f"{_PROPOSAL}::test_every_sample_judgement_comes_true[date]",),
    ),
    PlantedBug(
        "proposal-ends-with-the-first-unreadable-table",
        Python("ops.binding_text", "_describe"),
        exactly("except psycopg.Error as error:"),
        "except ZeroDivisionError as error:",
        "a table that cannot be read is one line, and the other candidates follow",
        (f"{_PROPOSAL}::test_no_right_to_read_is_a_line_and_the_other_candidates_follow",),
    ),
)
