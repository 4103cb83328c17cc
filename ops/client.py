"""What the command line asks of an installation: procedures, tables and views over PostgREST, functions over signed HTTP."""

import json
import time
import uuid
from typing import Any

import httpx

from ops.connection import Target, TargetError
from shared.adapters.database import PostgrestStore, explain_refusal
from shared.adapters.http_client import make_client
from shared.adapters.procedures import Database
from shared.http.webhook_auth import sign_webhook
from shared.observability.redaction import cut_excerpt
from shared.settings.validators import webhook_key

SWEEP_TIMEOUT_S = 330
READ_TIMEOUT_S = 15


class Installation:
    """One installation, as an operator reaches it. Safe to use from several threads."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.database = Database(PostgrestStore(target.supabase_url, target.secret_key))

    def _open_http(self, url: str, timeout_s: float, headers: dict[str, str] | None = None) -> httpx.Client:
        return make_client(url, headers=headers, timeout=httpx.Timeout(timeout_s))

    def read_rows(
        self, name: str, *, order: str | None = None, limit: int = 50, **filters: Any
    ) -> list[dict[str, Any]]:
        """Rows of a table or view of schema public; a filter is PostgREST's own word: `user_id="eq.…"`.

        A list is several conditions on one column. Raises what `Database` raises.
        """
        headers = {"apikey": self.target.secret_key, "Authorization": f"Bearer {self.target.secret_key}"}
        url = f"{self.target.supabase_url.rstrip('/')}/rest/v1/{name}"
        query = {"select": "*", "limit": str(limit), **({"order": order} if order else {}), **filters}
        with self._open_http(url, READ_TIMEOUT_S, headers) as http:
            answer = http.get(url, params=query)
        told = _read_json(answer)
        if answer.is_success and isinstance(told, list):
            return told
        said = told if isinstance(told, dict) else {"message": answer.text}
        code = said.get("code") or str(answer.status_code)
        raise explain_refusal(name, code, said.get("message"), said.get("details"), said.get("hint"))

    def read_view(self, name: str, order: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """Rows of a view of schema public, the highest of column `order` first."""
        return self.read_rows(name, order=f"{order}.desc" if order else None, limit=limit)

    def call_function(self, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Call a function with a signed body; its status and JSON answer (`detail` alone when it was not JSON).

        Raises TargetError when it cannot be addressed or does not take our signature, httpx.HTTPError without an answer.
        """
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
        with self._open_http(url, SWEEP_TIMEOUT_S) as http:
            answer = http.post(url, content=raw, headers=headers)
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise TargetError(
                f"the {name} function does not take our signature ({answer.status_code}): check that HANGAR_WEBHOOK_SECRET "
                "is the functions' own, that this machine's clock is right, and that HANGAR_FUNCTIONS_URL is theirs"
            )
        told = _read_json(answer)
        if isinstance(told, dict):
            return answer.status_code, told
        return answer.status_code, {"detail": f"not an answer of Hangar's: {cut_excerpt(answer.text, 200)!r}"}


def _read_json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
