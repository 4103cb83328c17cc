"""Bugs planted in the functions: the dashboard's access, forms and exports, and what an operator may ask for."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_ACCESS = "tests/http/test_admin_access.py"
_PARTS = "tests/unit/test_admin_parts.py"
_RELEASES = "tests/unit/test_release_pages.py"
_RELEASE_ROWS = "tests/postgres/test_dashboard_releases.py"
_ROWS = "tests/postgres/test_dashboard_rpcs.py"

_FLEET = "tests/http/test_admin_fleet.py"
_ALERTS = "tests/http/test_admin_alerts.py"
_DOCTOR = "tests/http/test_admin_doctor.py"
_MACHINE = "tests/http/test_admin_machine.py"
_HANDLING = "tests/postgres/test_alert_handling.py"

BUGS = (
    PlantedBug(
        "log-lines-show-secrets",
        Python("functions.admin.views.machine", "clean_text"),
        exactly('hide_secrets(_ESCAPES.sub("", start), secrets)'),
        '_ESCAPES.sub("", start)',
        "a log line that repeats a secret of the process is shown without it",
        (f"{_MACHINE}::test_a_log_line_is_a_text_and_never_long",),
    ),
    PlantedBug(
        "log-lines-keep-control-characters",
        Python("functions.admin.views.machine", "clean_text"),
        exactly('one_line(hide_secrets(_ESCAPES.sub("", start), secrets))'),
        "hide_secrets(start, secrets)",
        "control characters and characters that reorder text do not reach the page",
        (f"{_MACHINE}::test_a_log_line_is_a_text_and_never_long",),
    ),
    PlantedBug(
        "former-operators-may-diagnose",
        Python("functions.admin.request_context", "SeenOperators.note"),
        exactly("self._seen.pop(str(user_id), None)"),
        "pass",
        "somebody who is no operator any more gets no page while the database is out of reach",
        (f"{_DOCTOR}::test_somebody_else_gets_nothing_while_the_database_is_out_of_reach",),
    ),
    PlantedBug(
        "doctor-page-waits-for-what-hangs",
        Python("shared.doctor.groups", "run_groups"),
        exactly("thread.join(max(0.0, ends_at - time.monotonic()))"),
        "thread.join()",
        "a check that hangs does not keep the doctor page",
        ("tests/unit/test_doctor.py::test_groups_run_at_the_same_time_and_what_hangs_is_named",),
    ),
    PlantedBug(
        "snoozed-for-ever",
        Sql("function hangar.banner_alerts"),
        exactly("h.state = 'snoozed' and h.until > hangar.now()"),
        "h.state = 'snoozed'",
        "an alert whose snooze is over is shown above the pages again",
        (f"{_HANDLING}::test_the_pages_hide_a_snoozed_alert_only_until_its_time",),
    ),
    PlantedBug(
        "urgent-alerts-pushed-off",
        Sql("function public.fly_admin_frame"),
        exactly("order by hangar.alert_rank(l.kind), l.opened_at desc limit 20"),
        "order by l.opened_at desc limit 20",
        "an alert about the installation is above the pages, however many newer alerts about single apps are open",
        (
            "tests/postgres/test_many_alerts.py::test_an_alert_about_the_installation_is_not_hidden_by_many_about_single_apps",
        ),
    ),
    PlantedBug(
        "woken-twice-in-the-log",
        Sql("function public.fly_wake_alert"),
        exactly("if v_handling is not null then"),
        "if true then",
        "an alert that nobody has handled is not woken",
        (f"{_HANDLING}::test_a_woken_alert_is_open_as_before_and_not_sent_again",),
    ),
    PlantedBug(
        "old-alert-form-overwrites",
        Python("functions.admin.actions.alert_operations", "explain_stale_alert"),
        exactly("seen is not None and seen != mark_handling(alert)"),
        "False",
        "a form about an alert that somebody else has handled meanwhile changes nothing",
        (f"{_ALERTS}::test_a_form_that_is_out_of_date_changes_nothing",),
    ),
    PlantedBug(
        "unknown-filter-shows-everything",
        Python("functions.admin.pages.filters", "read_filter"),
        exactly("problems.append(_refuse_word(name, text, list(choices[name])))"),
        "pass",
        "a filter that does not exist is refused, and never shows or exports the whole fleet",
        (f"{_FLEET}::test_a_filter_that_does_not_exist_is_refused_by_name_and_lists_nothing",),
    ),
    PlantedBug(
        "most-expensive-by-what-was-spent",
        Sql("function public.fly_cost_report"),
        exactly("order by coalesce(a.monthly_cost_estimate_usd, 0) desc, coalesce(b.usd, 0) desc, 1"),
        "order by coalesce(b.usd, 0) desc, 1",
        "the most expensive users are those with the highest monthly cost",
        ("tests/postgres/test_migration_rpcs.py::test_the_most_expensive_users_are_those_who_cost_the_most_a_month",),
    ),
    PlantedBug(
        "retry-hits-more-than-it-showed",
        Python("functions.admin.actions.fleet_operations", "explain_stale_retry"),
        exactly('cause["ready"] <= int(seen)'),
        "True",
        "a retry of a cause hits no more apps than its form has shown",
        ("tests/http/test_admin_offers.py::test_a_retry_that_would_hit_more_than_it_showed_is_shown_again",),
    ),
    PlantedBug(
        "old-form-of-the-brake",
        Python("functions.admin.actions.routes", "_explain_changed"),
        exactly("seen != count_release(action.details)"),
        "False",
        "a release of the brake lets go only what its form has listed",
        ("tests/http/test_admin_offers.py::test_the_form_of_the_brake_lists_what_will_go",),
    ),
    PlantedBug(
        "restart-offered-while-paused",
        Python("functions.admin.actions.offers", "_can_restart"),
        exactly(" and not _is_paused(user)"),
        "",
        "no restart is offered while Hangar is paused",
        ("tests/http/test_admin_offers.py::test_while_hangar_is_paused_no_restart_and_no_retry_is_offered",),
    ),
    PlantedBug(
        "failure-that-never-ends",
        Sql("function hangar.follow_failure"),
        exactly("delete from hangar.failing_apps f where f.fly_app_id = new.id;"),
        "null;",
        "an app that works again does not fail since anything",
        (
            "tests/postgres/test_dashboard_failures.py::test_since_is_kept_while_the_cause_is_the_same_and_ends_with_the_failure",
        ),
    ),
    PlantedBug(
        "search-takes-wildcards",
        Sql("function hangar.escape_like"),
        exactly("replace(replace(replace(p_text, '\\', '\\\\'), '%', '\\%'), '_', '\\_')"),
        "p_text",
        "a search takes % and _ as themselves",
        (f"{_ROWS}::test_a_search_finds_by_any_part_or_by_id_and_takes_every_letter_as_it_is",),
    ),
    PlantedBug(
        "typed-address-is-cut-off",
        Sql("function hangar.search_users"),
        exactly("if position('@' in v_query) > 0 then"),
        "if false then",
        "the whole address that was typed is found, however many others contain it",
        (f"{_ROWS}::test_the_typed_address_is_found_although_very_many_contain_it",),
    ),
    PlantedBug(
        "dashboard-for-everybody",
        Python("shared.adapters.procedures_dashboard", "DashboardProcedures.read_frame"),
        exactly('return answer if answer.get("operator") is True else None'),
        "return answer",
        "I9: a user who is not an operator sees nothing",
        (_ACCESS,),
    ),
    PlantedBug(
        "any-form-proof",
        Python("functions.admin.auth.session", "CookieSealer.is_form_proof"),
        exactly('hmac.compare_digest(self.make_form_proof(session).encode(), given.encode("utf-8", "replace"))'),
        "bool(given)",
        "I4: a form proof belongs to one session",
        (_PARTS,),
    ),
    PlantedBug(
        "grant-removed-without-the-name",
        Python("functions.admin.actions.offers", "specialise"),
        exactly('spec.name == "remove-override" and (user["override"] or {}).get("override") == "grant"'),
        "False",
        "I5: a grant that keeps an app is not removed without the app's name",
        (_PARTS,),
    ),
    PlantedBug(
        "formula-in-the-export",
        Python("shared.domain.csv_text", "_escape_formula"),
        r"return f\"'\{text\}\" if text\.startswith\(_FORMULA_STARTS\) else text",
        "return text",
        "I9: no cell of an export is a formula",
        (_PARTS,),
    ),
    PlantedBug(
        "old-form-steps-a-release",
        Python("functions.admin.actions.release_offers", "explain_stale_form"),
        exactly("if is_offered and seen in (None, mark_state(release)):"),
        "if is_offered:",
        "I4: a form about a release that has changed meanwhile does nothing",
        (_RELEASES,),
    ),
    PlantedBug(
        "second-pause-looks-like-the-first",
        Python("functions.admin.actions.release_offers", "mark_state"),
        exactly(
            """return f"paused {log[0]['id']}" if release["state"] == "paused" and log else str(release["state"])"""
        ),
        'return str(release["state"])',
        "I4: a release that has paused again is not resumed by a form of the first pause",
        (_RELEASES,),
    ),
    PlantedBug(
        "resume-while-apps-go-back",
        Python("functions.admin.actions.release_offers", "offer_release_actions"),
        exactly('release["state"] == "paused" and release["back"]'),
        "False",
        "I4: a button is offered only where it can work",
        (_RELEASES,),
    ),
    PlantedBug(
        "environment-in-every-answer",
        Sql("function hangar.row_json"),
        exactly("when p_with_token and p_row.env_version is not null"),
        "when p_row.env_version is not null",
        "I9: values of an environment go only to the worker that writes them",
        (_RELEASE_ROWS,),
    ),
    PlantedBug(
        "draft-planned-as-it-was",
        Sql("function hangar.release_parts"),
        exactly("if p_release.state = 'draft' then"),
        "if false then",
        "a draft shows what its start would do now",
        (_RELEASE_ROWS,),
    ),
    PlantedBug(
        "moved-apps-do-not-differ",
        Sql("function hangar.count_differing"),
        exactly(" and (a.machine_region is null or a.machine_region = w.region) then false"),
        " then false",
        "a count over the fleet says the same as a question about each app",
        (f"{_RELEASE_ROWS}::test_apps_that_differ_are_counted_as_if_each_was_asked[-machine_region = 'nrt']",),
    ),
)
