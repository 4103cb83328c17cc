"""The checks that ask Fly: the token, its end and its rights, the organisation, regions, apps that are left. They change nothing.

Facts: Fly's OpenAPI description (`/v1/tokens/current`, `/v1/tokens/authorize`, `/v1/apps`, `/v1/platform/regions`), fly-go's
`flaps/`, and the actions of superfly/macaroon (`resset/action.go`): creating an app needs the action `c` in its organisation.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.doctor.checks import Check, not_checked, ok, warning, wrong
from shared.doctor.closed_apps import ClosedApp, check_closed_apps
from shared.doctor.fly_token import read_expiry
from shared.doctor.surroundings import Surroundings
from shared.domain.errors import HangarError, Refused
from shared.domain.regions import list_words
from shared.fly.messages import Request
from shared.fly.transport import FlyLink, format_authorization

NAMES = ("fly_token", "fly_token_expiry", "fly_token_scope", "fly_organisation", "fly_regions", "closed_apps")
EXPIRES_SOON = timedelta(days=14)
SET_TOKEN = "set FLY_API_TOKEN here to the value that the functions have, then run `hangar doctor` again"  # noqa: S105  advice, not a token


def make_fly_link(here: Surroundings) -> FlyLink | None:
    """The connection to Fly; None without a token, or with one that no header can hold."""
    try:
        return FlyLink(here.fly_api_url, here.fly_token) if here.fly_token else None
    except ValueError:
        return None


def check_fly(
    link: FlyLink | None,
    here: Surroundings,
    settings: Mapping[str, Any] | None,
    regions: Iterable[str],
    now: datetime,
    closed: Iterable[ClosedApp] | None = None,
) -> Iterator[Check]:
    """All checks of `NAMES`. `settings` and `closed` are those of the database, or None if it did not answer."""
    if link is None:
        yield from (not_checked(name, "this process has no FLY_API_TOKEN", SET_TOKEN) for name in NAMES)
        return
    org = settings["fly_org_slug"] if settings else here.fly_org
    yield judge_expiry(here.fly_token or "", now, org)
    yield from _check_token(link, org, here.fly_token or "")
    yield _check_organisation(link, org, here.fly_org, settings)
    yield _check_regions(link, regions)
    yield check_closed_apps(link, org, closed)


def judge_expiry(token: str, now: datetime, org: str | None) -> Check:
    """Whether the token ends soon, by what is written in it."""
    name, renew = "fly_token_expiry", _renew(org)
    was_read, ends = read_expiry(token)
    if not was_read:
        return not_checked(name, "the token is not of the form fm2_…, which holds its end", renew)
    if ends is None:
        return ok(name, "the token has no end")
    day = ends.strftime("%Y-%m-%d %H:%M UTC")
    if ends <= now:
        return wrong(name, f"the token ended at {day}", renew)
    if ends <= now + EXPIRES_SOON:
        return warning(name, f"the token ends at {day}", renew)
    return ok(name, f"the token ends at {day}")


def judge_scope(tokens: Any, org: str | None) -> Check | None:
    """What `GET /v1/tokens/current` says about the scope: a Check if it is too narrow, else None."""
    name = "fly_token_scope"
    found = [each for each in tokens if isinstance(each, dict)] if isinstance(tokens, list) else []
    slugs = {str(each.get("org_slug") or "") for each in found} - {""}
    limited = [each["apps"] for each in found if isinstance(each.get("apps"), list) and each["apps"]]
    if limited and len(limited) == len(found):
        apps = ", ".join(str(app) for app in limited[0][:3])
        return wrong(name, f"the token is limited to the app(s) {apps}; Hangar creates apps", _renew(org))
    if org and org != "personal" and slugs and org not in slugs:
        return wrong(
            name, f"the token belongs to the organisation {', '.join(sorted(slugs))}, not to {org}", _renew(org)
        )
    if any(each.get("restricted_to_machine") for each in found):
        return wrong(name, "the token may be used by one machine only", _renew(org))
    return None


def _check_token(link: FlyLink, org: str | None, token: str) -> Iterator[Check]:
    try:
        answer = link.call_once(Request("read the token", "GET", "/v1/tokens/current"))
    except Refused as refused:
        if refused.status in (401, 403):
            yield wrong("fly_token", "Fly rejects the token: it has ended, was revoked or is not complete", _renew(org))
            yield not_checked("fly_token_scope", "Fly rejects the token", _renew(org))
            return
        yield not_checked("fly_token", f"Fly answered {refused.status} to the question about the token", _look_at_url())
        tokens: Any = None
    except HangarError as error:
        yield not_checked("fly_token", str(error), _look_at_url())
        yield not_checked("fly_token_scope", "Fly did not answer", _look_at_url())
        return
    else:
        yield ok("fly_token", "Fly accepts the token")
        tokens = answer.data.get("tokens") if isinstance(answer.data, dict) else None
    yield judge_scope(tokens, org) or _check_rights(link, tokens, org, token)


def _check_rights(link: FlyLink, tokens: Any, org: str | None, token: str) -> Check:
    """Whether a token of the right organisation may create apps. Fly judges it (`/v1/tokens/authorize`) and changes nothing."""
    name = "fly_token_scope"
    if not isinstance(tokens, list) or not tokens:
        return not_checked(name, "Fly did not say what the token is for", f"fly tokens list --org {org or 'YOUR-ORG'}")
    if not org:
        return not_checked(name, "no organisation is named", "hangar settings set fly_org_slug=YOUR-ORG")
    refusal = _ask_right(link, org, token, "c")
    if refusal is None:
        return ok(name, "the token is for the whole organisation and may create apps")
    if isinstance(refusal, Refused) and _ask_right(link, org, token, "r") is None:
        return wrong(
            name,
            f"the token may read {org} and not create apps, like one of `fly tokens create readonly`. Hangar can change nothing "
            "with it",
            _renew(org),
        )
    return not_checked(
        name, f"Fly did not say whether the token may create apps ({refusal})", "Run `hangar doctor` again"
    )


def _ask_right(link: FlyLink, org: str, token: str, action: str) -> HangarError | None:
    """None if the token may do `action` in the organisation; otherwise what Fly answered."""
    body = {"header": format_authorization(token), "access": {"org_slug": org, "action": action}}
    call = Request("ask what the token may do", "POST", "/v1/tokens/authorize", body=body, secrets=(token,))
    try:
        link.call_once(call)
    except HangarError as error:
        return error
    return None


def _check_organisation(link: FlyLink, org: str | None, here: str | None, settings: Mapping[str, Any] | None) -> Check:
    name = "fly_organisation"
    if not org:
        return not_checked(
            name, "neither the database nor FLY_ORG_SLUG names it", "hangar settings set fly_org_slug=YOUR-ORG"
        )
    if settings and here and here != org:
        return wrong(
            name,
            f"FLY_ORG_SLUG is {here}, and the setting fly_org_slug is {org}",
            _choose_organisation(link, here, org),
        )
    try:
        link.call_once(_list_apps(org))
    except Refused as refused:
        remedy = "fly orgs list; then hangar settings set fly_org_slug=…, and FLY_ORG_SLUG of the functions"
        if refused.code == "org":
            return wrong(name, f"Fly knows no organisation {org}, or the token may not see it", remedy)
        return wrong(name, str(refused), refused.advice or remedy)
    except HangarError as error:
        return not_checked(name, str(error), "Run `hangar doctor` again")
    return ok(
        name, f"Fly lists the apps of {org}. Fly's API does not say whether it is a trial, what it owes or its quota"
    )


def _list_apps(org: str) -> Request:
    return Request("list the apps", "GET", "/v1/apps", params={"org_slug": org, "limit": "1"})


def _choose_organisation(link: FlyLink, here: str, org: str) -> str:
    """Which of the two to correct: the one that Fly does not open to this token, else the person decides.

    New apps are made in the organisation of the setting, so a wrong variable of a shell must not be copied into it.
    """
    opened = []
    for each in (here, org):
        with contextlib.suppress(HangarError):
            link.call_once(_list_apps(each))
            opened.append(each)
    change = f"hangar settings set fly_org_slug={here}"
    if opened == [here]:
        return change
    keep = f"Set FLY_ORG_SLUG to {org}, here and for the functions"
    return keep if opened == [org] else f"{keep}; or, if the apps belong in {here}: {change}"


def _check_regions(link: FlyLink, regions: Iterable[str]) -> Check:
    name = "fly_regions"
    wanted = sorted(set(regions))
    try:
        answer = link.call_once(Request("list the regions", "GET", "/v1/platform/regions"))
    except HangarError as error:
        return not_checked(name, str(error), "Run `hangar doctor` again")
    rows = answer.data.get("regions") or answer.data.get("Regions") if isinstance(answer.data, dict) else None
    if not isinstance(rows, list):
        return not_checked(name, "Fly's list of regions cannot be read", "fly platform regions")
    return judge_regions(
        wanted, [{key.lower(): value for key, value in row.items()} for row in rows if isinstance(row, dict)]
    )


def judge_regions(wanted: list[str], rows: list[dict[str, Any]]) -> Check:
    """Whether Fly offers every region that plans and settings name. Aliases are expanded by Fly."""
    name, remedy = (
        "fly_regions",
        "fly platform regions; then hangar settings set default_region=… or update public.fly_plans",
    )
    known = {str(row.get("code")): row for row in rows}
    aliases = {word for word in list_words() if word not in known and len(word) != 3} | {"usa", "any"}
    gone = [word for word in wanted if word not in known and word not in aliases]
    if gone:
        return wrong(name, f"Fly has no region {', '.join(gone)}", remedy)
    old = [word for word in wanted if known.get(word, {}).get("deprecated")]
    if old:
        return warning(name, f"Fly is closing the region {', '.join(old)}", remedy)
    paid = [word for word in wanted if known.get(word, {}).get("requires_paid_plan")]
    if paid:
        return warning(name, f"the region {', '.join(paid)} needs a paid plan at Fly", remedy)
    return ok(name, f"Fly offers {', '.join(wanted) or 'its regions'}")


def _renew(org: str | None) -> str:
    return f"fly tokens create org --org {org or 'YOUR-ORG'}; then set it as FLY_API_TOKEN of the functions"


def _look_at_url() -> str:
    return "Check FLY_API_URL (normally not set), then run `hangar doctor` again"
