"""The addresses and credentials of a local cloud: the content of `dev.json`."""

import os
from importlib.metadata import version
from typing import Any

from local.dev.database import ADMIN, ORG
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
