"""Apps of rows that the original system closed: whether Fly still has them. Nothing of Hangar removes them."""

from collections.abc import Collection, Iterable, Sequence

from shared.doctor.checks import Check, not_checked, ok, wrong
from shared.domain.errors import HangarError
from shared.fly.client import APPS_PER_PAGE
from shared.fly.messages import Request
from shared.fly.transport import FlyLink

NAME = "closed_apps"
_MOST_SHOWN = 5
# The app and the organisation of a closed row.
ClosedApp = Sequence[str]


def check_closed_apps(link: FlyLink, org: str | None, closed: Iterable[ClosedApp] | None) -> Check:
    """Reads the organisation's list of apps, but only if there are closed rows. `closed`: None if the database did not say."""
    if closed is None:
        return not_checked(NAME, "the database did not answer", "Correct what the check `database` names")
    rows = list(closed)
    if not rows:
        return ok(NAME, "there are no rows of the original system that it closed")
    if not org:
        return not_checked(NAME, "no organisation is named", "hangar settings set fly_org_slug=YOUR-ORG")
    try:
        listed = list_app_names(link, org)
    except HangarError as error:
        return not_checked(NAME, str(error), "Run `hangar doctor` again")
    return judge_closed_apps(rows, listed, org)


def list_app_names(link: FlyLink, org: str) -> set[str]:
    """Every app of the organisation. Raises what the connection raises."""
    call = Request("list apps", "GET", "/v1/apps", params={"org_slug": org, "limit": str(APPS_PER_PAGE)})
    return {
        str(app.get("name")) for items, _, _ in link.pages(call, "apps", None) for app in items if isinstance(app, dict)
    }


def judge_closed_apps(closed: Sequence[ClosedApp], listed: Collection[str], org: str) -> Check:
    """Which apps of closed rows the organisation still has. One in another organisation cannot be seen."""
    living = [app for app, _ in closed if app in listed]
    elsewhere = [app for app, of in closed if of != org and app not in listed]
    hidden = (
        f". {len(elsewhere)} of the rows name another organisation, which this token does not show" if elsewhere else ""
    )
    if living:
        return wrong(NAME, describe_living(living) + hidden, destroy_all(living))
    return ok(NAME, f"{org} has no app of the {len(closed)} row(s) that the original system closed{hidden}")


def describe_living(living: Sequence[str]) -> str:
    """What is wrong, in one sentence."""
    more = f" and {len(living) - _MOST_SHOWN} more" if len(living) > _MOST_SHOWN else ""
    return (
        f"the original system closed the rows of {len(living)} app(s) that are still on Fly and cost money, and Hangar never "
        f"removes them: {', '.join(living[:_MOST_SHOWN])}{more}"
    )


def destroy_all(living: Sequence[str]) -> str:
    """The commands that destroy the first of them."""
    commands = "; ".join(f"fly apps destroy {app}" for app in living[:_MOST_SHOWN])
    return commands + ("; then `hangar adopt`, which lists the others" if len(living) > _MOST_SHOWN else "")
