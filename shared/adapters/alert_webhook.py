"""One destination of alerts: a webhook that receives each message as a POST, in the form of Standard Webhooks.

The headers `webhook-id` and `webhook-timestamp` are always sent, `webhook-signature` only with a key. The id of a message is the
same in every attempt, so that a receiver can recognise a message that it has received before.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import httpx

from shared.adapters.http_client import make_client, parse_retry_after
from shared.domain.models import Json
from shared.observability.redaction import cut_excerpt, hide_secrets

_EXCERPT_CHARS = 100
_LONGEST_RETRY_AFTER_S = 86_400.0
# These answers are about the destination, whatever the message: the next message would be refused as well.
_DESTINATION_IS_OUT = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.GONE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


@dataclass(frozen=True)
class Attempt:
    """How one attempt went. Only a 2xx is a delivery. `is_out`: the destination refuses every message now."""

    delivered: bool
    error: str = ""
    retry_after_s: float | None = None
    is_out: bool = False


class AlertWebhook:
    """A destination. `name` identifies it in the database, without the URL, which may be a credential."""

    def __init__(
        self,
        url: str,
        signing_key: bytes | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = f"{httpx.URL(url).host}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
        self._url, self._signing_key = url, signing_key
        self._transport, self._wall_clock = transport, wall_clock

    def __repr__(self) -> str:
        return f"AlertWebhook({self.name})"

    def send(self, body: Json, message_id: str, timeout_s: float) -> Attempt:
        """One attempt to deliver `body`. It raises nothing, and its error never contains the URL."""
        content = json.dumps(body, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", **self._make_headers(message_id, content)}
        try:
            with (
                make_client(self._url, timeout=httpx.Timeout(timeout_s), transport=self._transport) as client,
                client.stream("POST", self._url, content=content, headers=headers) as response,
            ):
                return self._read_answer(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The text of such an error contains the URL.
            return Attempt(delivered=False, error=f"no answer ({type(error).__name__})", is_out=True)

    def _make_headers(self, message_id: str, content: bytes) -> dict[str, str]:
        at = str(int(self._wall_clock()))
        headers = {"webhook-id": message_id, "webhook-timestamp": at}
        if self._signing_key is not None:
            digest = hmac.digest(self._signing_key, f"{message_id}.{at}.".encode() + content, "sha256")
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return headers

    def _read_answer(self, response: httpx.Response) -> Attempt:
        if response.is_success:
            return Attempt(delivered=True)
        excerpt = next(response.iter_bytes(_EXCERPT_CHARS), b"").decode(errors="replace")
        excerpt = cut_excerpt(hide_secrets(excerpt, (self._url, httpx.URL(self._url).path.strip("/"))), _EXCERPT_CHARS)
        wanted_s = parse_retry_after(response.headers.get("retry-after"), response.headers.get("date"))
        error = f"answered {response.status_code}{f' ({excerpt})' if excerpt else ''}"
        if response.is_redirect:
            error = f"answered {response.status_code}: a redirect is not followed; configure the final URL"
        return Attempt(
            delivered=False,
            error=error,
            retry_after_s=None if wanted_s is None else min(wanted_s, _LONGEST_RETRY_AFTER_S),
            is_out=response.is_redirect or response.status_code in _DESTINATION_IS_OUT,
        )
