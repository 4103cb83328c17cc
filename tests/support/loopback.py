"""One HTTP client for servers on 127.0.0.1: without TLS, because each client reads all certificate authorities for 20 ms."""

from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

# It keeps no cookie, and no connection: the server behind an address is often another one a moment later.
LOOPBACK = httpx.Client(
    verify=False,  # noqa: S501  loopback
    trust_env=False,
    timeout=60,
    limits=httpx.Limits(max_keepalive_connections=0),
    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
)
