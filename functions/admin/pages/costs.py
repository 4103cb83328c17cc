"""What the fleet costs, what it would cost, what would save, and who costs the most."""

import flask

from functions.admin.pages.filters import refuse_filters
from functions.admin.request_context import get_context, read_arg, show
from shared.domain.cost_report import make_cost_report

blueprint = flask.Blueprint("costs", __name__)
_COUNTS = [10, 50, 100, 500]
_MOST_USERS = 10_000_000
_TOP = 25


@blueprint.get("/costs")
def show_costs() -> flask.Response:
    """The report of `hangar cost`, with the number of users that the address names among the projections."""
    if refused := refuse_filters("users"):
        return refused
    typed = read_arg("users")
    is_number = (
        typed.isascii() and typed.isdecimal() and len(typed) <= len(str(_MOST_USERS)) and 0 < int(typed) <= _MOST_USERS
    )
    counts = sorted({*_COUNTS, *([int(typed)] if is_number else [])})
    report = make_cost_report(get_context().database.read_cost_report(_TOP), counts)
    return show("costs.html", report=report, typed=typed, problem=bool(typed) and not is_number)
