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
        exactly("exception when others then"),
        "exception when division_by_zero then",
        "a check that fails does not stop the others",
        (f"{_POSTGRES}::test_a_check_that_fails_is_named_and_the_others_still_run",),
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
)
