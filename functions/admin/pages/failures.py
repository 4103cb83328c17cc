"""What needs a person, with the advice of the command line; and what Hangar is still trying by itself."""

from functions.admin.pages.fleet import read_page
from functions.admin.request_context import Page, RequestContext
from shared.domain.remediation import advise

_MOST = 50


def show_failures(visit: RequestContext) -> Page:
    """Apps that wait for a person first, then those with another attempt ahead; the newest of each."""
    lists = {}
    for name in ("stuck", "retrying"):
        rows = read_page(visit, {"work": name}, _MOST, None)
        for row in rows["rows"]:
            row["advice"] = advise(row["error_code"], row["email"] or row["user_id"], goes_on=name == "retrying")
        lists[name] = rows
    return visit.show("failures.html", lists=lists)
