"""The one way to make an HTTP client: one proxy rule, one TLS context, explicit time-outs.

Fly, Supabase, the functions and the alert webhook are all called through `make_client`.
"""

from __future__ import annotations

import ipaddress
import threading
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from http.cookiejar import CookieJar

_KEEP_ALIVE_S = (
    20.0  # short, because a function that was frozen wakes up with connections that the other side has closed
)
_making = threading.Lock()


def make_client(
    url: str,
    *,
    timeout: httpx.Timeout,
    headers: Mapping[str, str] | None = None,
    cookies: CookieJar | None = None,
    transport: httpx.BaseTransport | None = None,
) -> httpx.Client:
    """A client for requests to the host of `url`.

    The proxy of the environment (`HTTPS_PROXY` and its siblings) is used for every host except this machine. HTTP/2 is off:
    its connections go stale in frozen functions (supabase-py #1064). `transport` replaces the network in tests.
    """
    return httpx.Client(
        base_url=url,
        headers=headers,
        cookies=cookies,
        transport=transport,
        verify=get_tls_context(),
        http2=False,
        timeout=timeout,
        limits=httpx.Limits(keepalive_expiry=_KEEP_ALIVE_S),
        trust_env=not is_loopback(url),
    )


def is_loopback(url: str) -> bool:
    """Whether the host of `url` is this machine, which no proxy can reach."""
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def get_tls_context() -> ssl.SSLContext:
    """The TLS context that all clients share: certificates are verified, `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured.

    Reading the certificate bundle takes about 25 ms, so it happens once, at the first call and not at import.
    """
    with _making:  # `cache` alone would let two first callers each make one
        return _make_tls_context()


@cache
def _make_tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def parse_retry_after(value: str | None, date: str | None = None) -> float | None:
    """Seconds of a `Retry-After` in either form (RFC 9110 10.2.3); a date counts from the answer's own `Date`."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(date or "")).total_seconds())
    except (TypeError, ValueError):
        return None
