"""What needs an operator, with advice, and what Hangar still retries automatically."""

import flask

from functions.admin.pages.fleet import read_page
from functions.admin.request_context import get_context, show
from shared.domain.remediation import advise

blueprint = flask.Blueprint("failures", __name__)
_MOST = 50


@blueprint.get("/failures")
def show_failures() -> flask.Response:
    """Apps that wait for an operator, then those that are retried. The newest first."""
    lists = {}
    for name in ("stuck", "retrying"):
        page = read_page(get_context().database, {"work": name}, _MOST, None)
        for row in page.rows:
            row["advice"] = advise(row["error_code"], row["user_id"], goes_on=name == "retrying", surface="dashboard")
        lists[name] = page
    return show("failures.html", lists=lists)
