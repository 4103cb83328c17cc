"""What the command line asks of an installation: procedures and views over PostgREST, functions over signed HTTP."""

import json
import time
import uuid
from typing import Any

import httpx
from postgrest import SyncPostgrestClient

from ops.target import Target, TargetError
from shared.auth import sign_webhook
from shared.config_forms import webhook_key
from shared.store import Database, PostgrestStore
from shared.tls import get_tls_context

SWEEP_TIMEOUT_S = 330


class Installation:
    """One installation, as an operator reaches it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.database = Database(PostgrestStore(target.supabase_url, target.secret_key))

    def read_view(self, name: str, order: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """Rows of a view of schema public."""
        headers = {"apikey": self.target.secret_key, "Authorization": f"Bearer {self.target.secret_key}"}
        url = f"{self.target.supabase_url.rstrip('/')}/rest/v1"
        with httpx.Client(base_url=url, headers=headers, verify=get_tls_context(), timeout=15) as http:
            query = SyncPostgrestClient(url, headers=headers, http_client=http).from_(name).select("*").limit(limit)
            rows: Any = (query.order(order, desc=True) if order else query).execute().data
        return list(rows)

    def call_function(self, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Call a function with a signed body; its status and JSON answer. Raises TargetError when it cannot be addressed."""
        url, secret = self.target.functions.get(name), self.target.webhook_secret
        if not url or not secret:
            raise TargetError(
                f"to call the {name} function set HANGAR_FUNCTIONS_URL (a base URL, or a JSON object of URLs by function) "
                "and HANGAR_WEBHOOK_SECRET (whsec_…)"
            )
        raw, sent_at, delivery = json.dumps(body).encode(), str(int(time.time())), f"ops_{uuid.uuid4().hex}"
        key = webhook_key(secret)
        if key is None:
            raise TargetError("HANGAR_WEBHOOK_SECRET is not of the form whsec_ + base64 of 24 to 64 bytes")
        signature = sign_webhook(key, delivery, sent_at=sent_at, body=raw)
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery,
            "webhook-timestamp": sent_at,
            "webhook-signature": signature,
        }
        with httpx.Client(verify=get_tls_context(), timeout=SWEEP_TIMEOUT_S) as http:
            answer = http.post(url, content=raw, headers=headers)
        return answer.status_code, answer.json()
