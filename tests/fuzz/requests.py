"""What may arrive at a function, valid or not, as hypothesis strategies."""

import json
import time
import uuid
from dataclasses import dataclass

from hypothesis import strategies as st

from shared.http.webhook_auth import sign_webhook
from tests.fuzz.wire import Request

LIMIT = 64 * 1024
JSON = (b"Content-Type", b"application/json")
METHODS = (
    b"GET", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"BREW", b"post", b"PROPFIND",
)  # fmt: skip
TYPES = (
    b"application/json", b"application/json; charset=utf-8", b"application/json;charset=UTF-16",
    b"APPLICATION/JSON", b"text/plain", b"text/json", b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=x", b"multipart/form-data", b"application/cloudevents+json",
    b"application/json; charset=\xff", b";", b"", b"application/json, text/html",
)  # fmt: skip
TARGETS = (
    b"/", b"//", b"/provision", b"/../../etc/passwd", b"/%00", b"/%ff%fe", b"/?user_id=1", b"/?" + b"a=b&" * 500,
    b"/a" * 2000, b"*", b"http://example.test/", b"/robots.txt", b"/favicon.ico", b"/\xc3\xa9", b"/;x", b"/#x",
    b"/?%", b"?", b"", b"/ /", b"/_sim/world", b"/metrics", b"/health", b"/.env", b"/%2e%2e/", b"/?secret=%0d%0aX: y",
)  # fmt: skip
NAMES = (
    b"Host", b"Content-Encoding", b"Expect", b"Origin", b"traceparent", b"X-Cloud-Trace-Context", b"Authorization",
    b"Cookie", b"Upgrade", b"Connection", b"Range", b"If-None-Match", b"X-HTTP-Method-Override", b"X-Forwarded-For",
    b"X-Forwarded-Proto", b"Forwarded", b"Accept", b"Accept-Encoding", b"ce-id", b"ce-specversion", b"Content-Length",
    b"Transfer-Encoding", b"TE", b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"X-Hangar-Secret",
    b"Content-MD5", b"Trailer", b"X_Hangar_Secret", b"Access-Control-Request-Method",
    b"Access-Control-Request-Headers", b"Function-Execution-Id", b"X-Original-Url",
)  # fmt: skip
VALUES = (
    b"", b"*", b"null", b"100-continue", b"gzip", b"identity", b"chunked", b"gzip, chunked", b"h2c", b"websocket",
    b"close", b"keep-alive", b"bytes=0-", b"DELETE", b"https://admin.example.test", b"http://[::1",
    b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
    b"a" * 32 + b"/99999999999999999999;o=1", b"Bearer ", b"Bearer a.b.c", b"Basic Og==", b"v1,", b"v1," + b"A" * 44,
    b"v1, v1, v1,", b"0", b"-1", b"99999999999999999999", b"1e3", b"0x10", b"+5", b"\xff\xfe", b"\t", b"a\x00b",
    b"a" * 9000, b"\xd9\xa3", b"'; drop table x; --", b"${jndi:x}", b"%s%s%n", b"bearer eyJhbGciOiJub25lIn0.e30.",
)  # fmt: skip
KEYS = (
    "user_id", "tier", "reason", "record", "old_record", "type", "table", "schema", "drain_only", "force", "action",
    "", "id", "__proto__", "constructor", "User_ID", "user_id ", "user\u0000id", "\ud83d\ude00",
)  # fmt: skip
BROKEN = (
    b"", b"{", b"}", b"[]", b"null", b"true", b"1", b'"x"', b"not json", b"{} {}", b"\xef\xbb\xbf{}", b"{}\x00",
    b"[" * 60_000, b'{"a":' * 12_000, b'{"n": ' + b"9" * 60_000 + b"}", b'{"user_id": NaN}', b'{"user_id": Infinity}',
    b'{"user_id": -Infinity}', b'{"user_id": null}', b'{"user_id": 1}', b'{"user_id": 1e999}', b'{"user_id": []}',
    b'{"user_id": ""}', b'{"user_id": "\\ud800"}', b'{"user_id": "\xff"}', b'{"user_id": "%s"}' % (b"1" * 36),
    b"{'user_id': 1}", b'{"user_id": "x",}', b'{"record": 1}', b'{"record": {"user_id": "x"}}',
    b'{"record": {}, "old_record": null}', b'{"old_record": {"user_id": 7}}', b" " * (LIMIT + 1),
    b'{"a": "%s"}' % (b"a" * LIMIT), "{}".encode("utf-16"), "{}".encode("utf-32"), b"user_id=1", b"<x/>",
    b'{"user_id": "11111111-1111-1111-1111-11111111111\\u0000"}',
    b'{"user_id": "{11111111-1111-1111-1111-111111111111}"}',
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What a caller of this cloud may know: whom there is, and how one proves oneself."""

    users: tuple[str, ...]
    key: bytes
    static: bytes
    operator_token: bytes
    user_token: bytes
    machine_token: bytes
    session_cookie: bytes

    def sign(self, body: bytes) -> tuple[tuple[bytes, bytes], ...]:
        delivery, sent_at = f"msg_{uuid.uuid4()}", str(int(time.time()))
        signature = sign_webhook(self.key, delivery, sent_at=sent_at, body=body)
        return (
            (b"webhook-id", delivery.encode()),
            (b"webhook-timestamp", sent_at.encode()),
            (b"webhook-signature", signature.encode()),
        )


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**400), 10**400), st.floats(), st.text(max_size=40),
    st.uuids().map(str),
    st.sampled_from(["pro", "free", "INSERT", "UPDATE", "DELETE", "user_subscriptions", "public"]),
)  # fmt: skip
# Most noise gets past the HTTP server, which refuses what is no HTTP before any function sees it.
noise = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES))
junk = st.tuples(st.sampled_from(NAMES), st.binary(max_size=60).map(lambda raw: raw.translate(None, b"\r\n")))
headers = st.lists(noise, max_size=3) | st.lists(noise | junk, max_size=5)
framings = st.sampled_from(("length",) * 12 + ("chunked",) * 4 + ("broken chunks", "too short", "both", "none"))
methods = st.sampled_from((b"POST",) * 3 * len(METHODS) + METHODS * 2 + (b"B\x00D", b"\xff", b"a b"))
versions = st.sampled_from((b"HTTP/1.1",) * 40 + (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9.9", b"", b"JUNK"))
targets = st.sampled_from((b"/",) * len(TARGETS) + TARGETS)


def bodies(known: Known) -> st.SearchStrategy[bytes]:
    """Objects of every form: our own, a Supabase webhook's, and neither; now and then with a key twice."""
    values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | objects(inner), max_leaves=12)
    users = st.sampled_from(known.users)
    subscription = st.fixed_dictionaries({}, optional={"user_id": users | values, "tier": values, "id": values})
    payloads = st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["INSERT", "UPDATE", "DELETE", "TRUNCATE"]) | values,
            "table": values,
            "schema": values,
            "record": st.none() | subscription | values,
            "old_record": st.none() | subscription | values,
            "user_id": users | values,
            "drain_only": st.booleans() | values,
        },
    )
    good = st.fixed_dictionaries({"user_id": users}, optional={"tier": values, "reason": values, "force": values})
    whole = st.one_of(good, payloads, objects(values)).map(lambda value: json.dumps(value).encode())
    twice = st.builds(lambda one, other: one[:-1] + b"," + other[1:], whole, whole)
    return st.one_of(whole, whole, twice, st.sampled_from(BROKEN), st.binary(max_size=200))


def objects(inner: st.SearchStrategy) -> st.SearchStrategy[dict]:
    return st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), inner, max_size=5)


@st.composite
def unproven(draw, known: Known) -> list[Request]:
    """Anything at all, with each thing that is no proof: nothing, garbage, or a proof for something else."""
    body = draw(bodies(known))
    signed = known.sign(body)
    no_proofs = (
        (),
        ((b"X-Hangar-Secret", known.static + b"x"),),
        ((b"X-Hangar-Secret", known.static[:-1]),),
        ((b"X-Hangar-Secret", known.static), (b"X-Hangar-Secret", known.static)),
        ((b"Authorization", b"Bearer " + known.static),),
        ((b"Authorization", b"Bearer " + known.user_token),),
        ((b"Authorization", b"Bearer " + known.machine_token),),
        ((b"Authorization", b"Bearer " + known.operator_token[:-1]),),
        known.sign(body + b" "),
        signed[:2],
        tuple((name, text.replace(b"v1,", b"v1a,")) for name, text in signed),
        tuple((name, text.replace(b"msg_", b"msg.")) for name, text in signed),
    )
    around = ((b"Content-Type", draw(st.sampled_from(TYPES))), *draw(headers))
    method, target, framing, version = draw(methods), draw(targets), draw(framings), draw(versions)
    return [Request(method, target, (*proof, *around), body, framing, version) for proof in no_proofs]


@st.composite
def proven_nonsense(draw, known: Known) -> list[Request]:
    """A good proof on what must be refused: other methods, types and encodings, and bodies that say nothing."""
    good = b'{"user_id": "%s"}' % draw(st.sampled_from(known.users)).encode()
    framing = draw(st.sampled_from(["length", "chunked"]))
    wrong_type = draw(st.sampled_from([each for each in TYPES if b"json" not in each.lower()]))
    method = draw(st.sampled_from([each for each in METHODS if each not in (b"OPTIONS", b"CONNECT")]))
    cases = [
        (method, (JSON,), good),
        (b"POST", ((b"Content-Type", wrong_type),), good),
        (b"POST", (JSON, (b"Content-Encoding", b"gzip")), good),
        *((b"POST", (JSON,), body) for body in draw(st.lists(st.sampled_from(BROKEN), min_size=3, max_size=3))),
    ]
    return [
        Request(method, b"/", (*proof, *around), body, framing, is_proven=True)
        for method, around, body in cases
        for proof in (
            known.sign(body),
            ((b"X-Hangar-Secret", known.static),),
            ((b"Authorization", b"Bearer " + known.operator_token),),
        )
    ]


@st.composite
def proven(draw, known: Known) -> list[Request]:
    """A good proof on any body, among headers that may say anything else."""
    body, target, framing = draw(bodies(known)), draw(targets), draw(framings)
    framed = (b"content-length", b"transfer-encoding", b"expect")
    around = (JSON, *(header for header in draw(headers) if header[0].lower() not in framed))
    proofs = (
        known.sign(body),
        ((b"X-Hangar-Secret", known.static),),
        (*known.sign(body), (b"X-Hangar-Secret", known.static)),
    )
    return [Request(b"POST", target, (*proof, *around), body, framing, is_proven=True) for proof in proofs]
