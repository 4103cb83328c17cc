"""What fails, grouped by cause: since when, how many apps, what to do, and what Hangar still retries automatically."""

import flask

from functions.admin.pages.filters import refuse_filters
from functions.admin.request_context import get_context, show
from shared.domain.remediation import advise

blueprint = flask.Blueprint("failures", __name__)
_SHOWN_APPS = 5


@blueprint.get("/failures")
def show_failures() -> flask.Response:
    """The causes that wait for an operator, then those that are retried."""
    if refused := refuse_filters():
        return refused
    causes = get_context().database.read_failures(None, _SHOWN_APPS)
    for cause in causes:
        cause["advice"] = advise(cause["cause"], "", goes_on=cause["stuck"] == 0, surface="dashboard")
    return show(
        "failures.html",
        stuck=[cause for cause in causes if cause["stuck"]],
        retrying=[cause for cause in causes if not cause["stuck"]],
        is_paused=get_context().frame["settings"]["paused"],
    )
