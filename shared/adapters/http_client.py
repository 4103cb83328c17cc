"""The one TLS context of this process.

Reading the certificate bundle takes about 25 ms; a client that is handed a ready context costs 0.1 ms. So it is made at
the first call, not at import, and shared by every client of every adapter.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import ssl

_making = threading.Lock()


def get_tls_context() -> ssl.SSLContext:
    """The shared context: certificates verified; `SSL_CERT_FILE` and `SSL_CERT_DIR` honoured."""
    with _making:  # `cache` alone lets two first callers each make one
        return _make_tls_context()


@cache
def _make_tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()
