"""Logs as JSON lines on standard output, in the format of Cloud Logging, without any secret.

A line has `severity`, `message` and `time`, and `labels`, `trace` and `stack` if they are known. Labels come from
`extra={"labels": {...}}` and from the current request (`request_context`).
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
# W3C Trace Context 3.2 and Google's older header. Cloud Run passes both on.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?", re.ASCII)
_CLOUD_TRACE = re.compile(r"(?P<trace>[0-9a-fA-F]{32})(?:/(?P<span>\d{1,20}))?(?:;.*)?", re.ASCII)


@dataclass(frozen=True)
class Trace:
    """The caller's trace: 32 hex digits, and the span of 16 hex digits if the caller sent one."""

    trace_id: str
    span_id: str | None = None


@dataclass(frozen=True)
class _Context:
    labels: Mapping[str, str] = field(default_factory=dict)
    trace: Trace | None = None


_context: ContextVar[_Context | None] = ContextVar("hangar_log_context", default=None)


def read_trace(headers: Mapping[str, str]) -> Trace | None:
    """The trace from `traceparent`, otherwise from `X-Cloud-Trace-Context`. None if both are missing or malformed."""
    if match := _TRACEPARENT.fullmatch(headers.get("traceparent", "").strip()):
        return Trace(match["trace"], match["span"]) if match["trace"].strip("0") else None
    if match := _CLOUD_TRACE.fullmatch(headers.get("x-cloud-trace-context", "").strip()):
        span = int(match["span"]) if match["span"] else 0
        return Trace(match["trace"].lower(), f"{span:016x}" if 0 < span < 1 << 64 else None)
    return None


@contextmanager
def request_context(labels: Mapping[str, str], trace: Trace | None) -> Iterator[None]:
    """Add these labels and this trace to every line that is logged inside. Other threads are not affected."""
    token = _context.set(_Context(dict(labels), trace))
    try:
        yield
    finally:
        _context.reset(token)


def label_request(**labels: str) -> None:
    """Add labels to all later lines of the current request. Does nothing outside a request."""
    context = _context.get()
    if context is not None:
        _context.set(replace(context, labels={**context.labels, **labels}))


class Redaction(logging.Filter):
    """Redacts the records of a logger with its own handlers, such as gunicorn's, whose messages quote headers."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redactor.clean(_message(record)), ()
        if record.exc_info:
            record.exc_text = self._redactor.clean(logging.Formatter().formatException(record.exc_info))
        return True


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON, with every text redacted."""

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
        extra = getattr(record, "labels", None)
        labels = {**context.labels, **(extra if isinstance(extra, dict) else {})}
        if labels:
            line["labels"] = {clean(str(name)): clean(str(value)) for name, value in labels.items()}
        if context.trace is not None:
            line |= self._trace_fields(context.trace)
        if record.exc_info:
            line["stack"] = clean(self.formatException(record.exc_info))
        return json.dumps(line)

    def _trace_fields(self, trace: Trace) -> dict[str, str]:
        """`trace`, and with a Google project the two fields by which Cloud Logging joins lines to a request."""
        fields = {"trace": trace.trace_id}
        if self._project:
            fields["logging.googleapis.com/trace"] = f"projects/{self._project}/traces/{trace.trace_id}"
            if trace.span_id:
                fields["logging.googleapis.com/spanId"] = trace.span_id
        return fields


def _message(record: logging.LogRecord) -> str:
    """The message with its arguments, or without them if they do not match (logging itself would print them unredacted)."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  an invalid log call must neither be lost nor bypass the redactor
        return f"{record.msg} (the arguments do not match)"


def configure_logs(secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Send the lines of every logger to `stream` (standard output) as JSON. Call it once, at start.

    The messages of gunicorn keep their own format and stream, and are redacted too.
    """
    redactor = Redactor(secrets)
    handler = logging.StreamHandler(sys.stdout if stream is None else stream)
    handler.setFormatter(JsonLines(redactor, os.environ.get("GOOGLE_CLOUD_PROJECT") or None))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("gunicorn.error").addFilter(Redaction(redactor))
    for verbose in ("httpx", "httpcore"):  # they log every outgoing call with its URL at INFO
        logging.getLogger(verbose).setLevel(logging.WARNING)
