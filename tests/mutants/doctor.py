"""Bugs planted in `hangar doctor`: a check that says ok although it found something, or that was never made."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_UNIT = "tests/unit/test_doctor.py"
_POSTGRES = "tests/postgres/test_doctor.py"
_HTTP = "tests/http/test_doctor.py"
_MISTAKE = f"{_HTTP}::test_a_mistake_is_named_and_its_remedy_ends_it"

BUGS = (
    PlantedBug(
        "doctor-misses-disabled-jobs",
        Sql("function hangar.doctor_job"),
        exactly("elsif not v_job.active then"),
        "elsif v_job.active is null then",
        "a job that never runs because it is disabled is named",
        (f"{_MISTAKE}[disabled job]",),
    ),
    PlantedBug(
        "doctor-ignores-authenticated",
        Sql("function hangar.doctor_procedure_rights"),
        exactly("unnest(array['anon', 'authenticated']) r where"),
        "unnest(array['anon']) r where",
        "a procedure that signed-in users may run is named",
        (f"{_MISTAKE}[everybody may run a procedure]",),
    ),
    PlantedBug(
        "doctor-stops-at-the-first-failure",
        Sql("function hangar.doctor_check"),
        exactly("when others then"),
        "when division_by_zero then",
        "a check that fails does not stop the others",
        (f"{_POSTGRES}::test_a_check_that_fails_is_named_and_the_others_still_run",),
    ),
    PlantedBug(
        "missing-right-is-a-warning",
        Sql("function hangar.doctor_check"),
        exactly("exception when insufficient_privilege then"),
        "exception when division_by_zero then",
        "a right that the procedures lack is wrong, with what to do",
        ("tests/http/test_doctor.py::test_a_mistake_is_named_and_its_remedy_ends_it[Vault closed to Hangar]",),
    ),
    PlantedBug(
        "doctor-silent-on-an-open-vault",
        Sql("function hangar.doctor_vault_webhook_secret"),
        exactly("if v_readers is not null then"),
        "if false then",
        "nobody but the database reads the secret that signs its calls",
        ("tests/http/test_doctor.py::test_a_mistake_is_named_and_its_remedy_ends_it[one column of Vault open]",),
    ),
    PlantedBug(
        "doctor-calls-unchecked-ok",
        Python("shared.doctor.checks", "not_checked"),
        exactly('"warning"'),
        '"ok"',
        "a check that could not be made is never ok",
        (f"{_UNIT}::test_a_check_that_raises_is_not_checked_and_hides_the_text",),
    ),
    PlantedBug(
        "doctor-takes-any-401-for-hangar",
        Python("shared.doctor.function_checks", "judge_refusal"),
        exactly('status == httpx.codes.UNAUTHORIZED and challenge == "Hangar"'),
        "status == httpx.codes.UNAUTHORIZED",
        "the sign-in of the platform is not taken for a refusal of Hangar's",
        (f"{_UNIT}::test_only_hangars_own_refusal_of_a_wrong_signature_is_right",),
    ),
    PlantedBug(
        "doctor-reads-one-part-of-a-token",
        Python("shared.doctor.fly_token", "read_expiry"),
        exactly("min(ends)"),
        "max(ends)",
        "a token ends with the first of its parts",
        (f"{_UNIT}::test_the_end_of_a_token_is_read_from_the_token",),
    ),
    PlantedBug(
        "doctor-misses-apps-of-closed-rows",
        Python("shared.doctor.closed_apps", "judge_closed_apps"),
        exactly("if app in listed]"),
        "if app in listed][:0]",
        "an app that runs although its row is closed is named",
        (
            "tests/http/test_original_leftovers.py::test_an_app_that_runs_although_its_row_is_closed_is_named_and_destroying_it_ends_that",
        ),
    ),
    PlantedBug(
        "doctor-takes-any-refusal-for-a-read-only-token",
        Python("shared.doctor.fly_checks", "_check_rights"),
        exactly('isinstance(refusal, Refused) and _ask_right(link, org, token, "r") is None'),
        "isinstance(refusal, Refused)",
        "an answer that says nothing about the token does not make it read-only",
        (f"{_HTTP}::test_a_fly_that_does_not_judge_the_token_leaves_its_rights_unchecked",),
    ),
    PlantedBug(
        "going-live-forgets-the-original-system",
        Python("ops.commands.settings", "set_settings"),
        exactly('if "live" in change.changed and change.settings["live"]:'),
        "if False:",
        "going live names the apps of the original system that are left",
        ("tests/http/test_original_leftovers.py::test_going_live_warns_of_both_and_goes_live",),
    ),
    PlantedBug(
        "doctor-misses-a-changed-policy",
        Sql("function hangar.doctor_shape"),
        exactly("s.definition is distinct from r.definition"),
        "s.definition is null",
        "a policy of the same name that lets everybody read is named",
        (f"{_MISTAKE}[policy that lets everybody read]",),
    ),
    PlantedBug(
        "doctor-accepts-a-limit-of-zero",
        Sql("function hangar.doctor_caps"),
        exactly("v_settings.max_apps = 0 or v_settings.max_monthly_cost_usd = 0"),
        "v_settings.max_apps < 0 or v_settings.max_monthly_cost_usd < 0",
        "a limit of zero is named",
        (f"{_MISTAKE}[no app allowed]",),
    ),
    PlantedBug(
        "doctor-forgets-procedures-without-comments",
        Sql("create or replace function hangar.is_procedure"),
        exactly("r.kind = 'function'"),
        "r.kind = 'view'",
        "procedures whose comments a copy has lost are ours too",
        (f"{_MISTAKE}[a copy without comments and rights]",),
    ),
)
