"""What may arrive at the dashboard: every address it has and some it has not, from strangers and from an operator."""

import functools
import re
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.requests import Known, headers, methods, noise, versions
from tests.fuzz.wire import Request

DASHBOARD = Path(__file__).parents[2] / "functions" / "admin"
FORM = (b"Content-Type", b"application/x-www-form-urlencoded")
WORDS = (
    b"", b"1", b"-1", b"x", b"pause", b"provision", b"deprovision", b"restart", b"site.css",
    b"..%2f..%2fetc%2fpasswd", b"%00", b"%ff", b"github", b"a" * 3000, b"11111111-1111-4111-8111-111111111111",
    b"99999999-9999-4999-8999-999999999999", b"{{7*7}}", b"<script>", b"'%20or%201=1", b"%25", b"*", b"%,%",
    b"2026-13-45", b"1e999", b"nan", b"null", b"*)(", b"a,b", b"user_id.eq.1", b"%F0%9F%98%80",
)  # fmt: skip
KEYS = (
    b"user", b"app", b"q", b"status", b"tier", b"health", b"sort", b"after", b"before", b"cursor", b"type", b"span",
    b"day", b"next", b"code", b"error_code", b"ended", b"page", b"plan", b"reason", b"proof", b"typed", b"ends_on",
    b"email", b"password", b"x",
)  # fmt: skip


@functools.cache
def read_routes() -> list[bytes]:
    """The addresses that the dashboard's own code names."""
    texts = [path.read_text() for path in sorted(DASHBOARD.rglob("*.py"))]
    found = [re.findall(r'(?:Rule|route|get|post)\(\s*"(/[^"]*)"', text) for text in texts]
    routes = sorted({route.encode() for each in found for route in each})
    assert len(routes) > 5, "the dashboard's code names no routes in a form that is known here"
    return routes


words = st.sampled_from(WORDS) | st.binary(max_size=12).map(lambda raw: b"".join(b"%%%02x" % byte for byte in raw))
pairs = st.lists(st.tuples(st.sampled_from(KEYS), words), max_size=4).map(
    lambda kv: b"&".join(b"%s=%s" % each for each in kv)
)


@st.composite
def addresses(draw, known: Known) -> bytes:
    """A route with its parts filled in, and a query."""
    route, user = draw(st.sampled_from(read_routes())), draw(st.sampled_from(known.users)).encode()
    path = re.sub(rb"<uuid:\w+>", lambda _: draw(st.sampled_from([user]) | words), route)
    path = re.sub(rb"<\w+>", lambda _: draw(words), path)
    query = draw(pairs)
    return path + (b"?" + query if query else b"")


@st.composite
def visits(draw, known: Known) -> list[Request]:
    """Strangers: without a cookie, with one that is not ours, and with what opens the other functions."""
    cookies = (
        (),
        ((b"Cookie", b"__Host-hangar=" + draw(st.sampled_from((b"", b"x", b"A" * 200, b"\xff", b"=;=")))),),
        ((b"Cookie", known.session_cookie[:-3]),),
        ((b"Cookie", known.session_cookie.replace(b"__Host-hangar", b"__Host-hangar-said")),),
        ((b"X-Hangar-Secret", known.static),),
        ((b"Authorization", b"Bearer " + known.operator_token),),
    )
    target, body, around = draw(addresses(known)), draw(pairs), (FORM, *draw(headers))
    method, version = draw(st.sampled_from((b"GET", b"GET", b"POST")) | methods), draw(versions)
    return [Request(method, target, ((b"Host", b"x"), *cookie, *around), body, version=version) for cookie in cookies]


@st.composite
def operators_visits(draw, known: Known) -> list[Request]:
    """An operator who looks at everything, and forms that did not come from a page of this session."""
    cookie = (b"Cookie", known.session_cookie)
    target, around = draw(addresses(known)), tuple(draw(st.lists(noise, max_size=2)))
    host = ((b"Host", b"x"), cookie)
    forged = b"proof=" + draw(st.sampled_from((b"", b"x", b"0" * 64, b"%ff"))) + b"&reason=x&typed=x"
    user = draw(st.sampled_from(known.users)).encode()
    deeds = (
        target,
        b"/sign-out",
        b"/actions/pause",
        b"/actions/deprovision?user=" + user,
        b"/actions/restart?user=" + user,
    )
    deed = draw(st.sampled_from(deeds))
    other_site = ((b"Sec-Fetch-Site", b"cross-site"), (b"Origin", b"https://evil.example.test"))
    return [
        Request(b"GET", target, (*host, *around), b"", is_proven=True),
        Request(b"POST", deed, (*host, FORM), forged, is_proven=True),
        Request(b"POST", deed, (*host, FORM, *other_site), forged, is_proven=True),
    ]
