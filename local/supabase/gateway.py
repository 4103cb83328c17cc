"""A local `https://<project>.supabase.co`: `/rest/v1` and `/auth/v1` over a real Postgres.

    python -m local.supabase.gateway --database-url URL --keys FILE [--port 0] [--ready-file PATH]

A change of the signing keys in FILE takes effect within FOLLOW_S seconds.

Requests run as the token's role through real grants and row-level security. A form of PostgREST that the gateway leaves
out answers 400 HANGAR_UNSUPPORTED.
"""

import argparse
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from local.http_server import Request, Response, Server, answer_json
from local.service import Service, stop_on_signals, write_whole
from local.supabase.auth.service import AuthApi
from local.supabase.keys import Keys
from local.supabase.rest.api import RestApi
from local.supabase.rest.catalog import SchemaCache
from local.supabase.rest.pool import Pool

FOLLOW_S = 0.2
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Range, Proxy-Status, Retry-After",
}


class Gateway(Service):
    """The server at a project's public address.

    `database_url` logs in as a role that may SET ROLE to anon, authenticated and service_role;
    `auth_database_url` as one that may read `auth.users` (the same when not given).
    """

    def __init__(
        self,
        database_url: str,
        keys: Keys,
        *,
        auth_database_url: str | None = None,
        port: int = 0,
        pool_size: int = 10,
        acquire_timeout_s: float = 10,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._pool = Pool(database_url, pool_size, acquire_timeout_s)
        self._auth_pool = Pool(auth_database_url or database_url, 2, acquire_timeout_s)
        self._cache = SchemaCache(self._pool, database_url)
        self._rest = RestApi(self._pool, self._cache, keys, now)
        self._auth = AuthApi(self._auth_pool, keys, now)
        self._port = port
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """The project's URL (SUPABASE_URL of a client); RuntimeError before the start."""
        if self._server is None:
            raise RuntimeError("the gateway has not been started")
        return self._server.url

    def start(self) -> Self:
        """Listen and answer; OSError when the port is taken."""
        self._server = Server(self._answer, self._port)
        self._auth.sessions.issuer = f"{self._server.url}/auth/v1"
        self._cache.start()
        self._server.start()
        return self

    def stop(self) -> None:
        """Close the port, cut running requests, close the connections. A second call does nothing."""
        if self._server is not None:
            self._server.stop()
        self._cache.stop()
        self._pool.close()
        self._auth_pool.close()

    def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(200, b"", {**_CORS, **_preflight(request)})
        response = self._route(request)
        return Response(response.status, response.body, {**_CORS, **response.headers}, response.disconnect)

    def _route(self, request: Request) -> Response:
        for prefix, respond in (("/rest/v1", self._rest.respond), ("/auth/v1", self._auth.respond)):
            if request.path == prefix or request.path.startswith(f"{prefix}/"):
                return respond(request, request.path.removeprefix(prefix) or "/")
        return answer_json({"message": "no Route matched with those values"}, 404)


def _preflight(request: Request) -> dict[str, str]:
    return {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH, PUT, DELETE, OPTIONS",
        "Access-Control-Allow-Headers": request.headers.get("access-control-request-headers", "*"),
        "Access-Control-Max-Age": "86400",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m local.supabase.gateway", description=__doc__)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--auth-database-url")
    parser.add_argument("--keys", type=Path, required=True, help="file written by Keys.save")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ready-file", type=Path, help="written when the gateway serves: its URL")
    options = parser.parse_args(arguments)
    keys = Keys.load(options.keys)
    gateway = Gateway(
        options.database_url,
        keys,
        auth_database_url=options.auth_database_url,
        port=options.port,
    )
    stopping = stop_on_signals()
    follower = threading.Thread(target=_follow_file, args=(options.keys, keys, stopping), daemon=True)
    with gateway:
        if options.ready_file is not None:
            write_whole(options.ready_file, gateway.url)
        follower.start()
        print(gateway.url, flush=True)
        stopping.wait()


def _follow_file(path: Path, keys: Keys, stopping: threading.Event) -> None:
    """Take over the signing keys of each newer file: it is what the page JWT Keys of a hosted project changes."""
    known = path.stat().st_mtime_ns
    while not stopping.wait(FOLLOW_S):
        with contextlib.suppress(OSError, ValueError):  # the file is being removed, or is not a set of keys
            found = path.stat().st_mtime_ns
            if found != known:
                keys.replace_signing_keys(Keys.load(path))
                known = found


if __name__ == "__main__":
    main()
