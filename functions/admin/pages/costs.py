"""What the fleet costs, would cost, and what would save; and who costs the most."""

from functions.admin.request_context import Page, RequestContext
from shared.domain.cost_report import make_cost_report

_COUNTS = [10, 50, 100, 500]
_MOST_USERS = 10_000_000
_TOP = 25


def show_costs(visit: RequestContext) -> Page:
    """The report of `hangar cost`, with the number of users one asks for among the projections."""
    own = visit.ask("users")
    is_number = own.isascii() and own.isdecimal() and 0 < int(own) <= _MOST_USERS
    counts = sorted({*_COUNTS, *([int(own)] if is_number else [])})
    report = make_cost_report(visit.desk.database.rpc("fly_cost_report", top=_TOP), counts)
    return visit.show("costs.html", report=report, own=own, problem=bool(own) and not is_number)
