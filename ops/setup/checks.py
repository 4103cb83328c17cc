"""Checks what `hangar init` is told, live and without changing anything. Each returns what is wrong, or None."""

import httpx

from ops.deploy.database import DATABASE_URL, DatabaseStepError, open_database
from ops.setup.values import check_database_project, check_key_project, describe
from shared.adapters.alert_webhook import AlertWebhook
from shared.adapters.http_client import make_client
from shared.adapters.registry import choose_scope, make_registry
from shared.domain.errors import HangarError
from shared.fly.client import FlyClient
from shared.settings import validators as form

_TIMEOUT = httpx.Timeout(15)


def check_supabase(url: str, key: str) -> str | None:
    """Whether the project answers this secret key."""
    if form.secret_key.parse(key) is None:
        return f"SUPABASE_SECRET_KEY is wrong: expected {form.secret_key.expected}, not {describe_key(key)}"
    if problem := check_key_project(key, url):
        return f"SUPABASE_SECRET_KEY is wrong: {problem}"
    try:
        with make_client(url, timeout=_TIMEOUT, headers={"apikey": key, "Authorization": f"Bearer {key}"}) as http:
            status = http.get("/rest/v1/").status_code
    except httpx.HTTPError as error:
        return f"SUPABASE_URL: no answer from {url} ({type(error).__name__})"
    if status in (401, 403):
        return f"SUPABASE_SECRET_KEY: the project at {url} refuses this key ({status}). Copy the secret key of this project"
    if status >= 500:
        return f"SUPABASE_URL: the project at {url} answers {status}. Is it paused?"
    is_missing = 300 <= status < 400 or status in (404, 405, 410)
    return None if not is_missing else f"SUPABASE_URL: what answers at {url} ({status}) is no Supabase project"


def check_publishable(key: str, url: str) -> str | None:
    """Whether this is a publishable key, and, as far as it tells, of this project."""
    if form.publishable_key.parse(key) is None:
        return f"expected {form.publishable_key.expected}, not {describe_key(key)}"
    return check_key_project(key, url)


def describe_key(text: str) -> str:
    """What was given for a key. A text of no known form is not shown, because it may be a secret."""
    found = describe(text)
    return "an empty text" if not text else "a text of another form" if found.startswith(("'", '"')) else found


def check_database(url: str, supabase_url: str) -> str | None:
    """Whether the database is that of the project, lets this role in, and the role may create schemas."""
    if problem := check_database_project(url, supabase_url):
        return f"{DATABASE_URL} is wrong: {problem}"
    try:
        with open_database(url) as session:
            row = session.execute(
                "select has_database_privilege(current_database(), 'create'), current_user"
            ).fetchone()
    except DatabaseStepError as error:
        reason = str(error)
        return reason if reason.startswith(DATABASE_URL) else f"{DATABASE_URL}: {reason}"
    return None if row and row[0] else f"{DATABASE_URL}: this role may not create schemas. Use the role postgres"


def check_fly(api_url: str, token: str, org: str) -> str | None:
    """Whether the token opens the organisation. Asked of the Machines API, as the functions will."""
    if form.fly_token.parse(token) is None:
        return f"FLY_API_TOKEN is wrong: expected {form.fly_token.expected}"
    if form.slug.parse(org) is None:
        return f"--fly-org is {describe(org)}: expected {form.slug.expected}"
    try:
        with FlyClient(api_url, token, org_slug=org) as fly:
            next(iter(fly.single_attempts().list_apps(budget_s=20)), None)
    except HangarError as error:
        return f"FLY_API_TOKEN or --fly-org {org}: {error}"
    return None


def check_backend_image(image: str, supabase_url: str, fly_token: str) -> str | None:
    """Whether the image exists and runs on Fly. A registry that cannot be read is no reason to refuse."""
    found = make_registry(choose_scope(None, supabase_url), fly_token).look_up(image)
    if found.outcome in ("missing", "wrong_architecture"):
        return f"--image {image}: {found.said}"
    return None


def check_alert_url(url: str, *, send: bool) -> str | None:
    """Whether this is a webhook, and, if asked, whether it takes a message."""
    if form.web_urls.parse(url) is None:
        return f"HANGAR_ALERT_WEBHOOK_URL is wrong: expected {form.web_urls.expected}"
    for each in url.split(",") if send else ():
        attempt = AlertWebhook(each.strip()).send(
            {"text": "Hangar: a test of the alert address"}, "msg_hangar_init", 15
        )
        if not attempt.delivered:
            return f"HANGAR_ALERT_WEBHOOK_URL: the test message was not taken: {attempt.error}"
    return None
