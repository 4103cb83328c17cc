"""The transport under `FlyClient`: connections, the token, cookies, log lines, repetition and paging."""

from __future__ import annotations

import copy
import logging
import re
import threading
import time
from collections import OrderedDict, deque
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import httpx

from shared.adapters.http_client import make_client
from shared.domain.errors import InternalError, OutcomeUnknown, Refused, TransientError
from shared.domain.paging import Paging
from shared.fly.clock import FlyClock
from shared.fly.errors import classify_answer, explain_unreadable, translate_failure
from shared.fly.messages import GONE, Request, Response, read_answer
from shared.fly.rate_limits import RateLimits
from shared.fly.retry import AttemptLog, RetryPolicy, RetryState, repeat
from shared.observability.redaction import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

log = logging.getLogger("hangar.fly")

CONNECT_S, WRITE_S, POOL_S = 5.0, 5.0, 5.0
_REMEMBERED_APPS = 512
_PATH_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_MACAROON = re.compile(r"fm1r_|fm1a_|fm2_")
_NORMAL_ENDINGS = frozenset({"gone", "exists", "name_taken"})


class FlyLink:
    """Sends calls to one Fly API as one organisation's token; shared by threads, each call on a connection of its own."""

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        user_agent: str = "hangar",
        policy: RetryPolicy | None = None,
        hidden: Iterable[str] = (),
        limits: RateLimits | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")  # the paths bring their own
        self._token = check_token(token)
        self._hidden = (self._token, *hidden)
        self._transport = transport
        self._sleep = sleep
        self._clock = clock
        self._user_agent = user_agent
        self.policy = policy or RetryPolicy()
        # Not `or`: a RateLimits that remembers nothing yet has length zero.
        self._limits = RateLimits(clock, sleep) if limits is None else limits
        # A stack, not threading.local: short-lived thread pools find warm connections here, and close() finds all of them.
        # One client serves one thread at a time, because httpx slows down quadratically when many share one.
        self._idle: deque[httpx.Client] = deque()
        self._cookies = AppCookies()
        self.fly_clock = FlyClock(clock)
        self._counting = threading.Lock()
        self.calls = 0

    def __repr__(self) -> str:
        return f"FlyLink({self.base_url!r})"

    def close(self) -> None:
        """Close every idle connection; the link may be used again."""
        self.close_idle(0)

    def close_idle(self, keep: int) -> None:
        """Close idle connections, those unused for longest first, until at most `keep` are left."""
        while len(self._idle) > keep:
            try:
                client = self._idle.popleft()
            except IndexError:  # another thread has just taken it
                return
            client.close()

    def count_from_zero(self) -> Self:
        """The same link whose `calls` begins at zero: connections, cookies and rate limits are shared."""
        counted = copy.copy(self)
        counted.calls = 0
        return counted

    def call(
        self, call: Request, attempts: AttemptLog | None = None, budget_s: float | None = None, *, settles: bool = False
    ) -> Response:
        """The response to `call`, repeated while that is safe: 2xx or one of `call.accept`; every other outcome is raised."""
        ends_at = None if budget_s is None else self._clock() + budget_s
        retries = RetryState(self.policy, self._clock, ends_at)
        return repeat(
            lambda: self._attempt(call, ends_at, settles=settles), retries, sleep=self._sleep, before_wait=attempts
        )

    def call_once(self, call: Request, budget_s: float | None = None, *, settles: bool = False) -> Response:
        """As `call`, but a single attempt: the caller repeats it as the error's `may_repeat` and `is_settling` allow."""
        return self._attempt(call, None if budget_s is None else self._clock() + budget_s, settles=settles)

    def _attempt(self, call: Request, ends_at: float | None, *, settles: bool) -> Response:
        self._limits.wait_turn(call, ends_at)
        try:
            return self._send(call)
        except TransientError as error:
            error.may_repeat = call.is_repeatable or not isinstance(error, OutcomeUnknown)
            error.is_settling = settles and error.code == "settling"
            if error.status == httpx.codes.TOO_MANY_REQUESTS:
                self._limits.hold(call, self.policy.hold_s(error))
            raise
        finally:
            if call.method == "DELETE" and call.app is not None and call.path == app_path(call.app):
                self._cookies.drop(call.app)

    def pages(
        self,
        call: Request,
        key: str,
        cursor: str | None,
        attempts: AttemptLog | None = None,
        budget_s: float | None = None,
    ) -> Iterator[tuple[list[Any], dict[str, Any], str | None]]:
        """(items, body, next cursor) of each page, from `cursor` on; `budget_s` holds for each page by itself."""
        paging = Paging(call.what)
        while True:
            paging.advance(cursor)
            params = dict(call.params) | ({"cursor": cursor} if cursor else {})
            page_call = Request(call.what, call.method, call.path, call.app, params)
            try:
                answer = self.call(page_call, attempts, budget_s)
            except Refused as refused:
                if cursor and refused.status == httpx.codes.BAD_REQUEST:  # Fly's cursors live for half an hour
                    raise TransientError(
                        f"{refused.message}. Begin the listing again", code="cursor", status=400
                    ) from refused
                raise
            body = answer.data if isinstance(answer.data, dict) else {}
            items = body.get(key, "missing")
            if items is None:  # Go's empty list
                items = []
            if not isinstance(items, list):
                raise explain_unreadable(page_call, answer)
            following = body.get("next_cursor") or None
            if following is not None and not isinstance(following, str):
                raise explain_unreadable(page_call, answer)
            yield items, body, following
            if following is None:
                return
            cursor = following

    def _send(self, call: Request) -> Response:
        cause: Exception | None = None
        try:
            answer = self._exchange(call)
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            error = translate_failure(call, failure, self._hidden)
            cause = self._strip(failure)
        else:
            self.fly_clock.note(answer.date)
            if 200 <= answer.status < 300:
                return answer
            if answer.status in call.accept and (answer.status not in GONE or answer.proves_absence):
                return answer
            error = classify_answer(call, answer, self._hidden)
        log.log(logging.INFO if error.code in _NORMAL_ENDINGS else logging.WARNING, "%s", error)
        raise error from cause  # outside the except block, so that nothing else hangs on to it

    def _strip(self, failure: Exception) -> Exception | None:
        """`failure` without its cause and frames, which hold the request's headers. None if its own text contains a secret."""
        failure.__cause__ = failure.__context__ = None
        text = repr(failure)
        return failure.with_traceback(None) if hide_secrets(text, self._hidden) == text else None

    def _exchange(self, call: Request) -> Response:
        with self._counting:
            self.calls += 1
        with self._borrowed_client() as client:
            timeout = httpx.Timeout(connect=CONNECT_S, write=WRITE_S, read=call.read_timeout_s, pool=POOL_S)
            request = client.build_request(
                call.method,
                self.base_url + call.path,
                params=call.params or None,
                json=call.body,
                timeout=timeout,
            )
            jar = self._cookies.of(call.app) if call.app else None
            if jar is not None:
                jar.set_cookie_header(request)
            response = client.send(request)
            if jar is not None:
                jar.extract_cookies(response)
            return read_answer(response, self._hidden)

    @contextmanager
    def _borrowed_client(self) -> Iterator[httpx.Client]:
        try:
            client = self._idle.pop()
        except IndexError:
            client = self._make_client()
        try:
            yield client
        finally:
            self._idle.append(client)

    def _make_client(self) -> httpx.Client:
        return make_client(
            self.base_url,
            timeout=httpx.Timeout(CONNECT_S),  # every request brings its own
            headers={"authorization": format_authorization(self._token), "user-agent": self._user_agent},
            transport=self._transport,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # cookies belong to apps, not to connections
        )


class AppCookies:
    """Fly's affinity cookies, by app: they route the calls after a create to the node that knows the new app.

    Kept for the apps worked on last, so that a fleet does not grow a jar without end (fly-go `flaps.go` keeps a jar).
    """

    def __init__(self) -> None:
        self._jars: OrderedDict[str, httpx.Cookies] = OrderedDict()
        self._lock = Lock()

    def of(self, app: str) -> httpx.Cookies:
        with self._lock:
            jar = self._jars.setdefault(app, httpx.Cookies())
            self._jars.move_to_end(app)
            if len(self._jars) > _REMEMBERED_APPS:
                self._jars.popitem(last=False)
            return jar

    def drop(self, app: str) -> None:
        with self._lock:
            self._jars.pop(app, None)


def app_path(app: str) -> str:
    """The path of one app; `InternalError` if the name cannot be part of a path."""
    return f"/v1/apps/{check_part('app name', app)}"


def machine_path(app: str, machine_id: str) -> str:
    """The path of one machine; `InternalError` if a part cannot be part of a path."""
    return f"{app_path(app)}/machines/{check_part('machine id', machine_id)}"


def check_part(what: str, value: str) -> str:
    """`value`, or `InternalError` if it could change the path it is part of: an empty id would address the app itself."""
    if not isinstance(value, str) or not _PATH_PART.fullmatch(value):
        raise InternalError(f"{value!r} is not a valid {what}")
    return value


def check_token(token: str) -> str:
    """`token` without space around it; ValueError, which does not show it, if no header can hold it."""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ValueError("FLY_API_TOKEN must be one line of printable ASCII")
    return token


def format_authorization(token: str) -> str:
    """The header's value: macaroons under `FlyV1`, other tokens under `Bearer` (fly-go `tokens/tokens.go`)."""
    scheme, _, rest = token.partition(" ")
    if scheme in {"FlyV1", "Bearer"} and rest:
        return token
    return f"FlyV1 {token}" if _MACAROON.match(token) else f"Bearer {token}"
