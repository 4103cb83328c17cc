"""The installation as the command line reaches it: tables, views and procedures over PostgREST, functions over signed HTTP."""

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import httpx

from ops.connection import Target, TargetError
from shared.adapters.database import PostgrestStore, explain_refusal
from shared.adapters.http_client import make_client
from shared.adapters.operator_database import OperatorDatabase
from shared.adapters.procedures_operator import UserStatus
from shared.adapters.registry import Registry, choose_scope, make_registry
from shared.http.webhook_auth import sign_webhook
from shared.observability.redaction import cut_excerpt
from shared.settings.validators import webhook_key

FUNCTION_TIMEOUT_S = 330
READ_TIMEOUT_S = 15
_USERS_PER_CALL = 500  # the limit of fly_find_users


class Installation:
    """One installation. Safe to use from several threads."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.database = OperatorDatabase(PostgrestStore(target.supabase_url, target.secret_key))

    def make_registry(self) -> Registry:
        """The registries that this installation may ask about images."""
        scope = choose_scope(self.target.image_lookup, self.target.supabase_url)
        return make_registry(scope, self.target.fly_api_token)

    def _open_http(self, url: str, timeout_s: float, headers: dict[str, str] | None = None) -> httpx.Client:
        return make_client(url, headers=headers, timeout=httpx.Timeout(timeout_s))

    def read_rows(
        self, name: str, *, order: str | None = None, limit: int = 50, **filters: Any
    ) -> list[dict[str, Any]]:
        """Rows of a table or view of schema public. A filter is in PostgREST's syntax: `user_id="eq.…"`.

        A list gives several conditions on one column. Raises the same errors as `OperatorDatabase`.
        """
        headers = {"apikey": self.target.secret_key, "Authorization": f"Bearer {self.target.secret_key}"}
        url = f"{self.target.supabase_url.rstrip('/')}/rest/v1/{name}"
        query = {"select": "*", "limit": str(limit), **({"order": order} if order else {}), **filters}
        with self._open_http(url, READ_TIMEOUT_S, headers) as http:
            response = http.get(url, params=query)
        body = _read_json(response)
        if response.is_success and isinstance(body, list):
            return body
        problem = body if isinstance(body, dict) else {"message": response.text}
        code = problem.get("code") or str(response.status_code)
        raise explain_refusal(name, code, problem.get("message"), problem.get("details"), problem.get("hint"))

    def read_view(self, name: str, order: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """Rows of a view of schema public, highest value of the column `order` first."""
        return self.read_rows(name, order=f"{order}.desc" if order else None, limit=limit)

    def find_user(self, typed: str) -> UUID:
        """The user with this uuid, e-mail or app name (also of an app that is deleted). A uuid is not looked up.

        Raises TargetError when no user, or more than one, has the e-mail or the app.
        """
        try:
            return UUID(typed.strip())
        except ValueError:
            pass
        if "@" not in typed:
            return self._find_owner(typed.strip().lower())  # names on Fly have no capitals
        return self.find_users([typed])[typed]

    def _find_owner(self, app: str) -> UUID:
        quoted = app.replace("\\", "\\\\").replace('"', '\\"')
        rows = self.read_rows("user_fly_apps", fly_app_name=f'in.("{quoted}")', limit=1) if app.strip() else []
        if not rows:
            raise TargetError(
                f"{app!r} is neither a user id (the uuid of auth.users) nor an e-mail address nor the name of an app"
            )
        return UUID(rows[0]["user_id"])

    def find_known_user(self, typed: str) -> tuple[UUID, UserStatus]:
        """The user as `find_user` finds it, and what is known of it. Raises TargetError when there is no such user."""
        user_id = self.find_user(typed)
        status = self.database.read_user_status(user_id)
        if not status.is_known:
            raise TargetError(f"no user {typed} in this installation")
        return user_id, status

    def find_users(self, emails: Iterable[str]) -> dict[str, UUID]:
        """The user of each e-mail. Raises TargetError when one has no user, or more than one."""
        wanted = list(dict.fromkeys(emails))
        found: dict[str, set[str]] = {email.strip().lower(): set() for email in wanted}
        for page in _cut(wanted):
            for known in self.database.find_users(emails=page):
                found.setdefault(str(known["email"]).lower(), set()).add(known["user_id"])
        for email in wanted:
            ids = found[email.strip().lower()]
            if len(ids) != 1:
                owner = "more than one user has" if ids else "no user of this installation has"
                raise TargetError(f"{owner} the e-mail {email}; give the user's id, the uuid of auth.users")
        return {email: UUID(next(iter(found[email.strip().lower()]))) for email in wanted}

    def read_emails(self, users: Iterable[str | None]) -> dict[str, str]:
        """E-mail address by user id. Users without one are left out."""
        emails: dict[str, str] = {}
        for page in _cut(sorted({user for user in users if user})):
            emails |= {known["user_id"]: known["email"] for known in self.database.find_users(page) if known["email"]}
        return emails

    def call_function(self, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Call a function with a signed body. Returns the status and the JSON body (`detail` alone if it was not JSON).

        Raises TargetError when the function's address or secret is missing or the function rejects our signature, and
        httpx.HTTPError when there is no answer.
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
            raise TargetError("HANGAR_WEBHOOK_SECRET must have the form whsec_ + base64 of 24 to 64 bytes")
        signature = sign_webhook(key, delivery, sent_at=sent_at, body=raw)
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery,
            "webhook-timestamp": sent_at,
            "webhook-signature": signature,
        }
        with self._open_http(url, FUNCTION_TIMEOUT_S) as http:
            response = http.post(url, content=raw, headers=headers)
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise TargetError(
                f"the {name} function rejected our signature ({response.status_code}): check that HANGAR_WEBHOOK_SECRET is "
                "the functions' secret, that this machine's clock is right, and that HANGAR_FUNCTIONS_URL is their address"
            )
        document = _read_json(response)
        if isinstance(document, dict):
            return response.status_code, document
        return response.status_code, {"detail": f"the answer is not from Hangar: {cut_excerpt(response.text, 200)!r}"}


def _read_json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _cut(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """The values in pages of one call."""
    for start in range(0, len(values), _USERS_PER_CALL):
        yield values[start : start + _USERS_PER_CALL]
