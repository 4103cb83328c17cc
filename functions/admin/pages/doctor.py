"""The checks of `hangar doctor` that a function can make, run when an operator asks for them."""

import flask

from functions.admin.request_context import get_context, show
from functions.admin.views.doctor import LEFT_OUT, describe_reach, show_checks
from shared.doctor.checks import DATABASE, OUTSIDE, Check, count_states
from shared.doctor.examine import examine
from shared.doctor.surroundings import Surroundings
from shared.observability.redaction import hide_secrets

blueprint = flask.Blueprint("doctor", __name__)
# Twice: for the database, then for everything else at the same time. Platforms end a request after 60 s.
PATIENCE_S = 15.0


@blueprint.get("/doctor")
def show_doctor() -> flask.Response:
    """What would be checked. Nothing is checked yet, because that takes a while and asks Fly and the registries."""
    return _show([])


@blueprint.post("/doctor")
def run_checks() -> flask.Response:
    """The checks, now. 429 while this process runs them already."""
    admin = get_context().admin
    if not admin.doctor_lock.acquire(blocking=False):
        return _show([], 429)
    try:
        checks, _ = examine(Surroundings.of_config(admin.config), patience_s=PATIENCE_S)
    finally:
        admin.doctor_lock.release()
    return _show(checks)


def _show(checks: list[Check], status: int = 200) -> flask.Response:
    secrets = get_context().admin.config.secret_values()
    return show(
        "doctor.html",
        status,
        checks=show_checks(checks, lambda text: hide_secrets(text, secrets)),
        counts=count_states(checks),
        reach=describe_reach(checks),
        left_out=LEFT_OUT,
        total=len({*OUTSIDE, *DATABASE} - set(LEFT_OUT)),
        patience_s=2 * PATIENCE_S,
    )
