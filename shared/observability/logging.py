"""Logs as JSON lines on standard output, in the shape Cloud Logging reads and everything else can, without any secret.

A line has `severity`, `message`, `time` and, when known, `labels`, `trace`, `stack`. Labels are given with
`extra={"labels": {...}}` and joined with those of the request under way (`request_context`).
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TextIO

from shared.observability.redaction import Redactor

_SEVERITIES = {
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARNING",
    logging.ERROR: "ERROR",
    logging.CRITICAL: "CRITICAL",
}
# W3C Trace Context 3.2 and Google's older header, both of which Cloud Run passes on.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?", re.ASCII)
_CLOUD_TRACE = re.compile(r"(?P<trace>[0-9a-fA-F]{32})(?:/(?P<span>\d{1,20}))?(?:;.*)?", re.ASCII)


@dataclass(frozen=True)
class Trace:
    """The caller's trace: 32 hex digits, and the span of 16 when it named one."""

    trace_id: str
    span_id: str | None = None


@dataclass(frozen=True)
class _Context:
    labels: Mapping[str, str] = field(default_factory=dict)
    trace: Trace | None = None


_context: ContextVar[_Context | None] = ContextVar("hangar_log_context", default=None)


def read_trace(headers: Mapping[str, str]) -> Trace | None:
    """The trace named by `traceparent`, else by `X-Cloud-Trace-Context`; None when neither is well formed."""
    if match := _TRACEPARENT.fullmatch(headers.get("traceparent", "").strip()):
        return Trace(match["trace"], match["span"]) if match["trace"].strip("0") else None
    if match := _CLOUD_TRACE.fullmatch(headers.get("x-cloud-trace-context", "").strip()):
        span = int(match["span"]) if match["span"] else 0
        return Trace(match["trace"].lower(), f"{span:016x}" if 0 < span < 1 << 64 else None)
    return None


@contextmanager
def request_context(labels: Mapping[str, str], trace: Trace | None) -> Iterator[None]:
    """Every line logged inside carries these labels and this trace; other threads are not touched."""
    token = _context.set(_Context(dict(labels), trace))
    try:
        yield
    finally:
        _context.reset(token)


def label_request(**labels: str) -> None:
    """Add labels to every further line of the request under way; without one, nothing happens."""
    context = _context.get()
    if context is not None:
        _context.set(replace(context, labels={**context.labels, **labels}))


class Redaction(logging.Filter):
    """Cleans the records of a logger that keeps its own handlers, as gunicorn's does: its complaints quote headers."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redactor.clean(_message(record)), ()
        if record.exc_info:
            record.exc_text = self._redactor.clean(logging.Formatter().formatException(record.exc_info))
        return True


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; every text in it has been through the redactor."""

    def __init__(self, redactor: Redactor, project: str | None = None) -> None:
        super().__init__()
        self._redactor = redactor
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        clean = self._redactor.clean
        context = _context.get() or _Context()
        line: dict[str, Any] = {
            "severity": _SEVERITIES.get(record.levelno, "DEFAULT"),
            "message": clean(_message(record)),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "logger": record.name,
        }
        own = getattr(record, "labels", None)
        labels = {**context.labels, **(own if isinstance(own, dict) else {})}
        if labels:
            line["labels"] = {clean(str(name)): clean(str(value)) for name, value in labels.items()}
        if context.trace is not None:
            line |= self._trace_fields(context.trace)
        if record.exc_info:
            line["stack"] = clean(self.formatException(record.exc_info))
        return json.dumps(line)

    def _trace_fields(self, trace: Trace) -> dict[str, str]:
        """`trace` for everyone; with a project also the two fields by which Cloud Logging joins lines to a request."""
        fields = {"trace": trace.trace_id}
        if self._project:
            fields["logging.googleapis.com/trace"] = f"projects/{self._project}/traces/{trace.trace_id}"
            if trace.span_id:
                fields["logging.googleapis.com/spanId"] = trace.span_id
        return fields


def _message(record: logging.LogRecord) -> str:
    """The message with its arguments; without them when they do not fit, since logging's own complaint would print them."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  a faulty log call must neither be lost nor bypass the redactor
        return f"{record.msg} (its arguments do not fit)"


def configure_logs(secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Send every logger's lines to `stream` (standard output) as JSON, and only there; call it once, at start.

    gunicorn keeps its own form and stream for what it says of itself; that is cleaned too.
    """
    redactor = Redactor(secrets)
    handler = logging.StreamHandler(sys.stdout if stream is None else stream)
    handler.setFormatter(JsonLines(redactor, os.environ.get("GOOGLE_CLOUD_PROJECT") or None))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("gunicorn.error").addFilter(Redaction(redactor))
    for chatty in ("httpx", "httpcore"):  # a line for each outbound call, at INFO, with its URL
        logging.getLogger(chatty).setLevel(logging.WARNING)
