"""Log lines: one JSON object each, with trace and labels, and without a secret in any form."""

import io
import json
import logging
import re
import threading
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.observability.logging import JsonLines, Trace, configure_logs, label_request, read_trace, request_context
from shared.observability.redaction import Redactor

CANARY = 'canary/"secret"+value=='
PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
    .strip()
)
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def log():
    """A logger that writes JSON lines to `log.lines()` and knows the canary as a secret."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(Redactor([CANARY, PEM, "FlyV1 fm2_canary1111,fm2_canary2222"]), "project-1"))
    logger = logging.Logger("test")  # noqa: LOG001  one of its own for each test
    logger.addHandler(handler)
    logger.text = stream.getvalue
    logger.lines = lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    return logger


def test_a_line_is_one_json_object(log):
    log.warning("two\nlines and %s", "ünïcode \u2028", extra={"labels": {"app": "vyx-user-1", "attempt": 2}})
    (line,) = log.lines()
    assert line["severity"] == "WARNING"
    assert line["message"] == "two\nlines and ünïcode \u2028"
    assert line["labels"] == {"app": "vyx-user-1", "attempt": "2"}
    assert line["time"].endswith("+00:00")
    assert log.text().isascii()


def test_a_stack_is_logged_without_its_secrets(log):
    try:
        raise RuntimeError(f"refused with {CANARY}")  # noqa: TRY301  a stack is what is tested
    except RuntimeError:
        log.exception("it broke")
    (line,) = log.lines()
    assert line["severity"] == "ERROR"
    assert "RuntimeError: refused with [redacted]" in line["stack"]


@pytest.mark.parametrize(
    "leak",
    [
        CANARY,
        quote(CANARY, safe=""),
        json.dumps({"key": CANARY}),
        repr(CANARY),
        f"postgres://x:{quote(CANARY, safe='')}@host",
        # Fixed ids: the key is a new one in each process, and workers must collect the same tests.
        pytest.param(PEM, id="key"),
        pytest.param(PEM.splitlines()[1], id="line of the key"),
        pytest.param(repr(PEM), id="repr of the key"),
        "fm2_canary2222",
        "Authorization: FlyV1 fm2_otherlytoken",
        "Authorization: Bearer canary-of-someone-else",
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5",
        "sb_secret_canary0000",
        "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5",
        "-----BEGIN EC PRIVATE KEY-----\nY2FuYXJ5\n",
    ],
)
def test_no_form_of_a_secret_is_logged(log, leak):
    """The secret is in the message, its arguments, labels, an exception, or a call whose arguments do not match."""
    log.info(f"before {leak} after")  # noqa: G004  the message itself holds the secret
    log.info("%s", leak)
    log.info("label", extra={"labels": {"key": leak, leak: "value"}})
    log.info("object %r", [leak])
    log.info(f"{leak} %d", "not a number")  # noqa: G004  as above
    try:
        raise ValueError(leak)  # noqa: TRY301  a stack is what is tested
    except ValueError:
        log.exception("raised")
    text = log.text()
    assert len(log.lines()) == 6
    for shown in ("canary", "Y2FuYXJ5", "otherlytoken", *PEM.splitlines()[1:-1]):
        assert shown not in text


def test_a_secret_that_contains_another_is_replaced_as_a_whole():
    assert Redactor(["secret-one", "secret-one-and-more"]).clean("secret-one-and-more") == "[redacted]"


@pytest.mark.parametrize(
    ("secret", "echo"),
    [
        ('{"type": "account", "private_id": "canary-1"}', "no account with canary-1"),
        ("first-canary\nsecond-canary", "wrong value second-canary"),
        ("canary-a, canary-b", "neither canary-b nor canary-a"),
        ("canary", "six letters: canary"),
    ],
)
def test_a_part_of_a_secret_is_replaced(secret, echo):
    """A response may echo one value of a JSON object, one line, or one item of a list."""
    assert "canary" not in Redactor([secret]).clean(echo)


def test_short_words_and_plain_text_stay_readable():
    """A secret of a few letters would otherwise remove ordinary words."""
    text = "user 11111111-1111-4111-8111-111111111111 of the error tree is active"
    assert Redactor(["error", ""]).clean(text) == text


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        ({"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, Trace(TRACE, "b7ad6b7169203331")),
        ({"traceparent": f"01-{TRACE}-b7ad6b7169203331-01-more"}, Trace(TRACE, "b7ad6b7169203331")),
        ({"x-cloud-trace-context": f"{TRACE}/255;o=1"}, Trace(TRACE, "00000000000000ff")),
        ({"x-cloud-trace-context": TRACE.upper()}, Trace(TRACE, None)),
        ({"x-cloud-trace-context": f"{TRACE}/99999999999999999999"}, Trace(TRACE, None)),
        ({"traceparent": "nonsense", "x-cloud-trace-context": f"{TRACE}/1"}, Trace(TRACE, "0000000000000001")),
        ({"traceparent": f"00-{'0' * 32}-b7ad6b7169203331-01"}, None),
        ({"traceparent": f"00-{TRACE}-b7ad-01"}, None),
        ({"x-cloud-trace-context": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_trace_is_read_from_both_headers(headers, trace):
    assert read_trace(headers) == trace


def test_only_the_lines_of_a_request_have_its_labels_and_trace(log):
    with request_context({"request_id": "r-1", "function": "health"}, Trace(TRACE, "00000000000000ff")):
        log.info("inside", extra={"labels": {"function": "own"}})
        other = threading.Thread(target=log.info, args=("elsewhere",))
        other.start()
        other.join()
        label_request(caller="webhook")
        log.info("later")
    label_request(caller="nobody")
    log.info("after")
    inside, elsewhere, later, after = log.lines()
    assert later["labels"] == {"request_id": "r-1", "function": "health", "caller": "webhook"}
    assert inside["labels"] == {"request_id": "r-1", "function": "own"}
    assert inside["trace"] == TRACE
    assert inside["logging.googleapis.com/trace"] == f"projects/project-1/traces/{TRACE}"
    assert inside["logging.googleapis.com/spanId"] == "00000000000000ff"
    assert "labels" not in elsewhere
    assert "labels" not in after
    assert "trace" not in after


def test_every_logger_is_configured_and_http_clients_are_quiet():
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        configure_logs(["canary-secret"], stream)
        logging.getLogger("anything").info("with canary-secret")
        logging.getLogger("httpx").info("HTTP Request")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["message"] == "with [redacted]"


def test_messages_of_gunicorn_are_redacted():
    """Gunicorn keeps its own handlers, and its messages about invalid requests quote the invalid line."""
    root, gunicorn = logging.getLogger(), logging.getLogger("gunicorn.error")
    before, level, filters = root.handlers[:], root.level, gunicorn.filters[:]
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    gunicorn.addHandler(handler)
    try:
        configure_logs(["canary-secret"], io.StringIO())
        gunicorn.warning("Invalid request from ip=%s: %s", "127.0.0.1", "'X-Hangar-Secret canary-secret'")
        try:
            raise ValueError("canary-secret")  # noqa: TRY301  a stack is what is tested
        except ValueError:
            gunicorn.exception("Error handling request %s", "/?secret=canary-secret")
    finally:
        root.handlers[:], gunicorn.filters[:] = before, filters
        root.setLevel(level)
        gunicorn.removeHandler(handler)
    assert "canary" not in stream.getvalue()
    assert "X-Hangar-Secret [redacted]" in stream.getvalue()
    assert "ValueError" in stream.getvalue()


@pytest.mark.parametrize(
    "secret", ["p<a&b>x-long", "tab\tvalue-long\r\nmore", "pässwörd-lang", "\U0001f600-long-one", 'quo"te\\back']
)
def test_a_secret_is_removed_however_json_writes_it(secret):
    """Plain, as Go writes it, with numbers for letters of other languages, and within another JSON text."""
    plain = json.dumps({"K": secret})
    go = plain.replace("<", "\\u003c").replace(">", "\\u003E").replace("&", "\\u0026")
    for text in (plain, go, json.dumps({"error": go}), json.dumps({"K": secret}, ensure_ascii=False)):
        assert re.fullmatch(r"\W*(error\W*)?K\W*\[redacted\]\W*", Redactor([secret]).clean(text)), text
