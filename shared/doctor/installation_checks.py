"""The checks that compare this process with the database: keys, secrets, clocks, images, receivers of alerts, prices."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx

from shared.adapters.http_client import make_client
from shared.adapters.registry import choose_scope, make_registry
from shared.doctor.checks import Check, not_checked, ok, warning, wrong
from shared.doctor.function_checks import FUNCTIONS, SET_SECRET, SET_URL, hide_query
from shared.doctor.surroundings import Surroundings
from shared.domain.cost import newest_price_list
from shared.domain.release_image import ImageLookup
from shared.http.webhook_auth import sign_webhook
from shared.settings.validators import webhook_key

SKEW = timedelta(seconds=30)
_PROJECT = re.compile(r"\b[a-z]{20}\b")
PRICES_AFTER = timedelta(days=180)
TIMEOUT_S = 10.0


def check_environment(here: Surroundings) -> Check:
    """The settings of this process, by their form."""
    name = "environment"
    problems = [*here.problems, *filter(None, [explain_supabase_url(here.supabase_url)])]
    if problems:
        return wrong(name, "; ".join(problems), "Correct these variables; docs/settings.md describes each")
    if here.missing:
        return warning(
            name,
            f"not checked, because they are not set in this shell: {', '.join(here.missing)}",
            "Set them to the values of the functions, then run `hangar doctor` again",
        )
    return ok(name, "every variable has the right form")


def explain_supabase_url(url: str) -> str | None:
    """What is wrong with an address that leads elsewhere than to the project's API; None if nothing is."""
    parts = urlsplit(url)
    ref = _PROJECT.search(f"{parts.hostname or ''}{parts.path}")
    if re.search(r"/(?:rest|auth|storage|functions)/v1(?:/|$)", parts.path):
        right = f"{parts.scheme}://{parts.netloc}"
    elif ref and (parts.hostname or "").removeprefix("www.") in ("supabase.com", f"db.{ref[0]}.supabase.co"):
        right = f"https://{ref[0]}.supabase.co"
    else:
        return None
    return f"SUPABASE_URL is {url}, and the address of the project's API is {right}"


def check_publishable_key(here: Surroundings, get: Callable[[str, str], httpx.Response]) -> Check:
    """Whether Supabase's gateway knows the public key, which every machine receives."""
    name = "publishable_key"
    if not here.publishable_key:
        return not_checked(name, "SUPABASE_PUBLISHABLE_KEY is not set here", "Set it to the value of the functions")
    answer = get(f"{here.supabase_url.rstrip('/')}/rest/v1/user_fly_apps?select=id&limit=1", here.publishable_key)
    try:
        code = answer.json().get("code")
    except (ValueError, AttributeError):
        code = None
    # Without a signed-in user the table is closed: 42501 shows that the key itself was accepted.
    if answer.is_success or code == "42501":
        return ok(name, "Supabase accepts the publishable key")
    if answer.status_code in (401, 403):
        return wrong(
            name,
            "Supabase rejects SUPABASE_PUBLISHABLE_KEY, so no machine can reach the database",
            "Copy the sb_publishable_… key from Project Settings, API Keys, into SUPABASE_PUBLISHABLE_KEY of the functions",
        )
    return not_checked(name, f"Supabase answered {answer.status_code}", "Run `hangar doctor` again")


def get_with_key(url: str, key: str) -> httpx.Response:
    """A read with an API key. Raises httpx.HTTPError."""
    with make_client(url, timeout=httpx.Timeout(TIMEOUT_S)) as http:
        return http.get(url, headers={"apikey": key})


def check_installation_id(here: Surroundings, settings: Mapping[str, Any]) -> Check:
    """Whether the functions' settings are those of this database."""
    name, expected = "installation_id", str(settings["installation_id"])
    if not here.installation_id:
        return not_checked(name, "HANGAR_INSTALLATION_ID is not set here", f"Set it to {expected}, as in the functions")
    if here.installation_id.lower() != expected:
        return wrong(
            name,
            f"HANGAR_INSTALLATION_ID is {here.installation_id}, and the database is {expected}: Hangar changes nothing on Fly",
            f"Set HANGAR_INSTALLATION_ID of the functions to {expected}, if this is their database",
        )
    return ok(name, f"this is the installation {expected}")


def check_webhook_secret(here: Surroundings, probes: Mapping[str, Any] | None) -> Check:
    """Whether the secret here is the one in Vault, found by signing the database's probe again."""
    name = "webhook_secret"
    remedy = SET_SECRET
    if not here.webhook_secret:
        return not_checked(name, "HANGAR_WEBHOOK_SECRET is not set here", "Set it to the value of the functions")
    key = webhook_key(here.webhook_secret)
    if key is None:
        return wrong(
            name, "HANGAR_WEBHOOK_SECRET does not have the form whsec_ + base64 of 24 to 64 bytes", "Copy it again"
        )
    probe = (probes or {}).get("health") or {}
    headers = probe.get("headers")
    if not isinstance(headers, dict):
        return not_checked(name, "Vault has no usable hangar_webhook_secret", remedy)
    signature = sign_webhook(
        key, headers["webhook-id"], sent_at=headers["webhook-timestamp"], body=str(probe["body"]).encode()
    )
    if signature != headers["webhook-signature"]:
        return wrong(
            name, "HANGAR_WEBHOOK_SECRET here and hangar_webhook_secret in Vault are two different secrets", remedy
        )
    return ok(name, "HANGAR_WEBHOOK_SECRET is the secret in Vault")


def check_functions_url(here: Surroundings, probes: Mapping[str, Any] | None) -> Check:
    """Whether the dashboard and the commands call the same functions as the database."""
    name = "functions_url"
    if not here.functions:
        return not_checked(name, "HANGAR_FUNCTIONS_URL is not set here", "Set it to the value of the functions")
    vault = {function: (probes or {}).get(function, {}).get("url") for function in FUNCTIONS}
    if not all(isinstance(url, str) for url in vault.values()):
        return not_checked(name, "Vault names no URL for each function", SET_URL)
    other = [
        f"{function} is {hide_query(mine)} here and {hide_query(url)} in Vault"
        for function, url in vault.items()
        if (mine := here.functions.get(function, "")) and _normalize(mine) != _normalize(url)
    ]
    if other:
        return warning(
            name,
            f"HANGAR_FUNCTIONS_URL and hangar_functions_url in Vault differ: {'; '.join(other)}. Unless both lead to the same "
            "functions, the dashboard and this command call those of another installation",
            f"Set HANGAR_FUNCTIONS_URL to the value in Vault; or {SET_URL}",
        )
    return ok(name, "HANGAR_FUNCTIONS_URL names the URLs in Vault")


def _normalize(url: str) -> str:
    try:
        return str(httpx.URL(url.strip())).rstrip("/")  # lower-case host, no default port
    except httpx.InvalidURL:
        return url


def judge_clocks(
    database: datetime, here: datetime, functions: Iterable[datetime], fly_lead: timedelta | None
) -> Check:
    """Whether the clocks agree, by the database's. `fly_lead`: how far Fly's is ahead; None if it is not known."""
    name = "clocks"
    leads = {"this machine's": here - database}
    leads |= (
        {"the functions'": max((each - database for each in functions), key=abs)}
        if (functions := list(functions))
        else {}
    )
    leads |= {"Fly's": fly_lead} if fly_lead is not None else {}
    off = [f"{whose} clock is {format_lead(lead)} the database's" for whose, lead in leads.items() if abs(lead) > SKEW]
    if off:
        return wrong(
            name,
            "; ".join(off) + ". Signatures are refused when clocks differ by 5 minutes",
            "Compare each with a third clock and correct the one that is wrong: timedatectl set-ntp true",
        )
    known = ", ".join(leads)
    if len(leads) < 3:
        return warning(
            name,
            f"the database's clock agrees with {known}; the others were not asked",
            "Correct what the other checks name, then run `hangar doctor` again",
        )
    return ok(name, f"the database's clock agrees with {known}")


def format_lead(lead: timedelta) -> str:
    """How far a clock is ahead, in words."""
    seconds = round(abs(lead).total_seconds())
    return f"{seconds} s {'ahead of' if lead > timedelta(0) else 'behind'}"


def check_images(
    here: Surroundings, images: Iterable[str], look_up: Callable[[str], ImageLookup] | None = None
) -> Check:
    """Whether every image exists and runs on Fly's machines."""
    ask = look_up or make_registry(choose_scope(here.image_lookup, here.supabase_url), here.fly_token).look_up
    return judge_images({image: ask(image) for image in sorted(set(images))})


def judge_images(found: Mapping[str, ImageLookup]) -> Check:
    """What the registries said about each image."""
    name = "images"
    gone = [f"{image} does not exist ({said.said})" for image, said in found.items() if said.outcome == "missing"]
    other = [
        f"{image} does not run on Fly ({said.said})"
        for image, said in found.items()
        if said.outcome == "wrong_architecture"
    ]
    unread = [f"{image} ({said.said or 'HANGAR_IMAGE_LOOKUP does not allow it'})" for image, said in found.items()
              if said.outcome in ("not_readable", "not_looked_up")]  # fmt: skip
    if other and not gone:
        return wrong(name, "; ".join(other), "docker build --platform linux/amd64 -t IMAGE . && docker push IMAGE")
    if gone:
        return wrong(name, "; ".join(gone + other), "docker push IMAGE; or hangar settings set default_image=IMAGE:TAG")
    if unread:
        return not_checked(
            name,
            f"the registry of {', '.join(unread)} was not read",
            "Set FLY_API_TOKEN and HANGAR_IMAGE_LOOKUP=all, then run `hangar doctor` again",
        )
    return ok(name, f"{', '.join(found)} exist and run on Fly")


def check_alert_webhook(here: Surroundings, head: Callable[[str], int]) -> Check:
    """Whether the receivers of alerts answer. They are only asked for their headers, so no message is sent."""
    name = "alert_webhook"
    remedy = "Correct HANGAR_ALERT_WEBHOOK_URL of the functions, or repair the receiver"
    if here.alert_urls is None:
        return not_checked(
            name,
            "HANGAR_ALERT_WEBHOOK_URL is not set here",
            "Set it to the value of the functions, or look at the check alert_delivery",
        )
    if not here.alert_urls:
        return warning(
            name,
            "no receiver is set, so alerts are shown and never sent",
            "Set HANGAR_ALERT_WEBHOOK_URL of the functions",
        )
    bad = list(_find_dead_receivers(here.alert_urls, head))
    return (
        wrong(name, "; ".join(bad), remedy) if bad else ok(name, f"{len(here.alert_urls)} receiver(s) of alerts answer")
    )


def _find_dead_receivers(urls: Iterable[str], head: Callable[[str], int]) -> Iterator[str]:
    for url in urls:
        host = httpx.URL(url).host  # the path of such a URL is a credential
        try:
            status = head(url)
        except httpx.HTTPError as error:
            yield f"{host} does not answer ({type(error).__name__})"
            continue
        if status >= 500 or status in (404, 410):
            yield f"{host} answers {status}"


def ask_for_headers(url: str) -> int:
    """The status that a receiver answers to HEAD. Raises httpx.HTTPError."""
    with make_client(url, timeout=httpx.Timeout(TIMEOUT_S)) as http:
        return http.head(url).status_code


def judge_prices(today: date) -> Check:
    """Whether the price list is recent."""
    name, since = "price_table", newest_price_list(today)
    if since is None or today - since > PRICES_AFTER:
        age = "begins later than today" if since is None else f"is of {since}, {(today - since).days} days ago"
        return warning(
            name,
            f"Fly's price list in this version {age}; costs may be out of date",
            "Install a newer version of Hangar, or correct shared/domain/data/fly_prices.json",
        )
    return ok(name, f"Fly's price list in this version is of {since}")
