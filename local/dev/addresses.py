"""The addresses and credentials of a local cloud: the content of `dev.json`, and the text that `make dev` prints."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from local.dev.database import ADMIN, FREE_USERS, ORG
from local.dev.files import LOGS
from local.dev.functions import ADMIN as ADMIN_PAGES
from local.dev.functions import Endpoints, Secrets
from local.supabase.keys import Keys


def describe(endpoints: Endpoints, keys: Keys, own: Secrets, urls: dict[str, str], database_url: str) -> dict[str, Any]:
    """The content of dev.json."""
    return {
        "database_url": database_url,
        "supabase_url": endpoints.supabase_url,
        "secret_key": keys.secret_key,
        "publishable_key": keys.publishable_key,
        "auth_signing_key": keys.signing_key_pem,
        "fly_api_url": endpoints.fly_api_url,
        "fly_api_token": own.fly_token,
        "fly_org": ORG,
        "webhook_secret": own.webhook,
        "static_secret": own.static,
        "functions": {ADMIN_PAGES: None, **urls},
        "admin": {"email": ADMIN.email, "password": own.admin_password},
        "alerts_url": endpoints.alerts_url,
        "pid": os.getpid(),
        "version": version("hangar"),
    }


def format_addresses(known: dict[str, Any], *, start_s: float, folder: Path, psql: str) -> str:
    """Every address of a running cloud, and two commands to try it; `known` is the content of dev.json."""
    user = FREE_USERS[0]
    functions = "\n".join(f"    {name:<16}{url}" for name, url in known["functions"].items() if url)
    upgrade = f"update user_subscriptions set tier = 'pro' where user_id = '{user.id}'"  # noqa: S608  a line to show
    look = "select user_id, fly_app_name, status, health_status, monthly_cost_estimate_usd from user_fly_apps"
    return f"""Started in {start_s:.1f} s. The database is new at every start. Logs: {folder / LOGS}.

    database        {known["database_url"]}
    Supabase        {known["supabase_url"]}
    Fly API         {known["fly_api_url"]}/v1    (its apps and machines: {known["fly_api_url"]}/_sim/world)
{functions}
    alerts          {known["alerts_url"]}
    operator        {known["admin"]["email"]}    (password: {known["admin"]["password"]})
    everything      {folder / "dev.json"}    (with keys and tokens)

Make {user.email} a paying user, then read the app's row a few seconds later:

    {psql} '{known["database_url"]}' -c "{upgrade}"
    {psql} '{known["database_url"]}' -c "{look}"

Ctrl-C stops everything."""
