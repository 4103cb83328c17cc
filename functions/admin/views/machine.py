"""Log lines and check output of a machine as a page shows them. They are texts of strangers. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from shared.domain.errors import HangarError, NotFound, TransientError
from shared.domain.plain_text import one_line
from shared.fly.app_logs import LogLine
from shared.fly.models import Check
from shared.fly.parsing import parse_time
from shared.observability.redaction import hide_secrets

LINE_CHOICES = ("20", "50", "100")
DEFAULT_LINES = "50"
MOST_CHARS = 2_000
_MOST_WORD_CHARS, _MOST_TIME_CHARS = 20, 30
# Colours and cursor moves of terminals (ECMA-48), which programs write into their logs.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
_LEVELS = {
    "fatal": "bad", "panic": "bad", "critical": "bad", "error": "bad", "err": "bad",
    "warning": "busy", "warn": "busy",
}  # fmt: skip
_STATUSES = {"passing": "good", "warning": "busy", "critical": "bad"}


@dataclass(frozen=True)
class ShownLine:
    """One line of a log. `cut_chars` is how many characters are left out at its end."""

    at: str
    level: str
    tone: str
    region: str
    machine_id: str
    message: str
    cut_chars: int


@dataclass(frozen=True)
class ShownCheck:
    """One check of a machine. `changed_at` is an ISO time, None if Fly does not say it."""

    name: str
    status: str
    tone: str
    output: str
    cut_chars: int
    changed_at: str | None


def show_lines(lines: Iterable[LogLine], secrets: tuple[str, ...]) -> list[ShownLine]:
    """The lines in their order, without control characters and secrets, each cut to `MOST_CHARS`."""
    return [_show_line(line, secrets) for line in lines]


def _show_line(line: LogLine, secrets: tuple[str, ...]) -> ShownLine:
    message, cut_chars = clean_text(line.message, secrets)
    level = _clean_word(line.level).lower()
    return ShownLine(
        at=_format_time(line.at),
        level=level or "no level",
        tone=_LEVELS.get(level, "gone"),
        region=_clean_word(line.region),
        machine_id=_clean_word(line.machine_id),
        message=message,
        cut_chars=cut_chars,
    )


def show_check_list(checks: Iterable[Check], secrets: tuple[str, ...]) -> list[ShownCheck]:
    """The checks in Fly's order, cleaned like the lines of a log."""
    found = []
    for check in checks:
        output, cut_chars = clean_text(check.output, secrets)
        changed_at = check.changed_at.isoformat() if check.changed_at else None
        name, _ = clean_text(check.name, secrets)
        found.append(
            ShownCheck(name, check.status, _STATUSES.get(check.status, "unknown"), output, cut_chars, changed_at)
        )
    return found


def clean_text(text: str, secrets: tuple[str, ...]) -> tuple[str, int]:
    """The text on one line, without secrets and terminal codes, and how many of its characters were cut off."""
    start = text[: 2 * MOST_CHARS]  # twice, so that a secret at the cut is still seen as a whole
    shown = one_line(hide_secrets(_ESCAPES.sub("", start), secrets)).strip()
    kept = shown[:MOST_CHARS]
    return kept, len(text) - len(start) + len(shown) - len(kept)


def _clean_word(text: str) -> str:
    return one_line(text).strip()[:_MOST_WORD_CHARS]


def _format_time(text: str) -> str:
    """Fly's time to the millisecond, in UTC. Anything else is shown as it is, shortened."""
    at = parse_time(text)
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"[:-3] if at else one_line(text)[:_MOST_TIME_CHARS]


def explain_failure(error: HangarError, what: str) -> str:
    """Why Fly gave no answer about `what`, and what an operator can do. The error names no secret."""
    detail = str(error)[:1].upper() + str(error)[1:]
    if isinstance(error, NotFound):
        return (
            f"Fly does not know {what}. Somebody may have deleted it by hand. The next sweep finds out and repairs it; Check now "
            "on the user's page does so at once."
        )
    if error.status in (401, 403):
        return (
            "Fly does not accept the token of the dashboard for this. Set FLY_API_TOKEN of the functions to a valid token of the "
            f"organisation; the Doctor page checks it. {detail}."
        )
    if isinstance(error, TransientError):
        return f"Fly does not answer now, which says nothing about the app. Refresh in a moment. {detail}."
    return f"Fly refused the question. {detail}."
