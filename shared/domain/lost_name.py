"""An app of ours whose name somebody else on Fly holds now: when an operator's decision may give the user another name. Pure.

Fly's app names are global, so the name of an app that was deleted outside Hangar may be taken by another organisation. A wrong
or narrowed token gives the same 403. Only Fly's lists of our own organisation, read to the end, tell the two apart.
"""

from datetime import datetime, timedelta

from shared.domain.actions import Done, GiveUp
from shared.domain.models import Row
from shared.domain.observation import Observation, OrgListing

NOT_OWNED = "not_owned"
# A decision that no run could judge within this time, for example during an outage, is no longer followed.
DECISION_VALID = timedelta(hours=1)


def wants_new_name(row: Row, now: datetime) -> bool:
    """Whether an operator has decided, and recently, that this user takes another name."""
    request = row.new_name_request
    return request is not None and now - request.asked_at < DECISION_VALID


def report_not_owned(row: Row) -> GiveUp:
    """What an app that was ours, and is not any more, means without an operator's decision."""
    return GiveUp(
        NOT_OWNED,
        f"the Fly app {row.fly_app_name} was ours, and the app under this name no longer carries our proof",
        "check that FLY_API_TOKEN belongs to the organisation in hangar.settings.fly_org_slug and that nobody re-created "
        "the app by hand, then retry this user; Hangar will not touch an app it cannot prove to own. If the app was deleted "
        f"and somebody else has its name now, run {name_command(row)}",
    )


def name_command(row: Row) -> str:
    """The command with which an operator decides, in backticks."""
    return f'`hangar retry {row.user_id} --new-name --reason "…"`'


def decide_lost_name(row: Row, observation: Observation) -> Done | GiveUp:
    """Close the row, if Fly's lists prove that our organisation no longer has the app; else say what was seen."""
    listing = observation.listing
    refusal = _refuse(row, listing)
    if listing is None or refusal is not None:
        seen, advice = refusal or ("Fly's lists were not read", "try again")
        return GiveUp(NOT_OWNED, f"{row.fly_app_name} keeps its name and nothing was changed: {seen}", advice)
    others = "another app" if listing.ours == 1 else f"{listing.ours} other apps"
    return Done(
        "deleted",
        lost_name=f"Fly says that the name {row.fly_app_name} belongs to somebody else, and Fly's lists of the organisation "
        f"{row.fly_org_slug}, read to the end, show {others} of this installation and not this one",
    )


def _refuse(row: Row, listing: OrgListing | None) -> tuple[str, str] | None:
    """Why the lists do not prove that the app is gone, and what to do; None if they do."""
    again = f"then run {name_command(row)} again"
    wait = f"look at Fly's status page, {again}"
    token = f"set FLY_API_TOKEN of the functions to a token of the whole organisation {row.fly_org_slug}, {again}"
    if listing is None:
        return "Fly's lists were not read", again
    if listing.refused:
        return f"Fly does not let FLY_API_TOKEN list the organisation {row.fly_org_slug} ({listing.refused})", token
    if listing.shows_name:
        return (
            f"Fly's lists show an app of this name in our own organisation {row.fly_org_slug}, without Hangar's proof",
            f"delete that app if it is not needed, then run `hangar retry {row.user_id}`: Hangar creates the user's app again",
        )
    if listing.error_regions:
        return f"Fly could not list the machines of {', '.join(listing.error_regions)}, so the app may be there", wait
    if listing.unread_apps > 0:
        return f"Fly's list of apps was incomplete: {listing.unread_apps} of the apps that it counts were missing", wait
    if listing.ours == 0:
        return (
            "Fly's lists show no other app of this installation, so they do not prove that this one is gone",
            f"check FLY_API_TOKEN and FLY_ORG_SLUG; if this is the only app, give a second user one first, {again}",
        )
    expected = row.new_name_request.others if row.new_name_request else 0
    if 2 * listing.ours < expected:
        return f"Fly's lists show only {listing.ours} of the {expected} other apps that run", token
    return None
