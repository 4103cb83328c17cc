"""How the options of `hangar release` and `hangar user` are written: shares, waves, durations, moments, environment, users.

A function raises TargetError, which the command line prints as one line and exit code 2. No message quotes the value of a
variable.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from ops.client import Installation
from ops.connection import TargetError

_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?|\.\d{1,9}", re.ASCII)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h|d|w)?", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MOST_SPAN_S = 10 * 365 * 86400
_MOST_FILE_BYTES = 10_000_000  # 100,000 users with the longest addresses


def read_share(option: str, text: str) -> float:
    """A share from 0 to 1, written 5% or 0.05. The database checks which shares an option allows."""
    number, percent = _split_percent(text)
    if number is None:
        raise TargetError(f"{option} must be a share like 5% or 0.05, not {text!r}")
    if text.strip() == "1":
        raise TargetError(f"{option} 1 may mean everything or one percent: write 100% or 1%")
    share = round(number / 100, 9) if percent else number
    if share > 1:
        hint = "" if percent else f"; write {text.strip()}% for {text.strip()} %"
        raise TargetError(f"{option} must be at most 100%, not {text!r}{hint}")
    return share


def read_waves(text: str) -> list[float]:
    """The shares at which the waves end: 5,25,100 or 5%,25%,100% or 0.05,0.25,1. The last is the whole selection."""
    found = [_split_percent(word) for word in text.split(",")]
    numbers = [number for number, _ in found if number is not None]
    if len(numbers) < len(found):
        raise TargetError(f"--waves must be percentages like 5,25,100, not {text!r}")
    # Plain numbers are percentages, unless they end with 1: 0.05,0.25,1 are shares.
    as_percent = any(percent for _, percent in found) or numbers[-1] > 1
    shares = [round(number / 100, 9) if as_percent else number for number in numbers]
    if shares[-1] != 1:
        raise TargetError(f"--waves must end with 100 (everybody who is chosen), not {text!r}")
    if any(later <= earlier for earlier, later in zip([0.0, *shares], shares, strict=False)):
        raise TargetError(f"--waves must grow, like 5,25,100; {text!r} does not")
    return shares


def _split_percent(text: str) -> tuple[float | None, bool]:
    word = text.strip()
    number = word.removesuffix("%").strip()
    return (float(number) if _NUMBER.fullmatch(number) else None), word.endswith("%")


def read_duration(option: str, text: str) -> float:
    """Seconds, written 90s, 5m, 1h or plainly 90."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise TargetError(f"{option} must be a duration like 90s, 5m or 1h, not {text!r}")
    return float(match[1]) * _UNITS_S[match[2] or "s"]


def read_moment(option: str, text: str, now: datetime) -> datetime:
    """A moment after `now`: a date (its first moment, UTC), an ISO time (UTC unless it names a zone), or a span like 7d."""
    span = _DURATION.fullmatch(text.strip())
    if span and span[2]:
        at = now + timedelta(seconds=min(float(span[1]) * _UNITS_S[span[2]], _MOST_SPAN_S))
    else:
        try:
            at = read_iso_time(text)
        except ValueError:
            raise TargetError(
                f"{option} must be a date like 2027-01-31, a time like 2027-01-31T18:00, or a span like 7d, not {text!r}"
            ) from None
    if at <= now:
        raise TargetError(f"{option} must be in the future; {text!r} is {at:%Y-%m-%d %H:%M} UTC")
    return at


def read_iso_time(text: str) -> datetime:
    """A date or time in UTC; one without a zone is UTC. Raises ValueError, also for one that has no place in UTC."""
    at = datetime.fromisoformat(text.strip())
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def read_env(pairs: Iterable[str], option: str = "--env") -> dict[str, str]:
    """Variables from NAME=VALUE. A name may come once."""
    env: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            # The whole word may be a secret whose name was forgotten, so it is not shown.
            raise TargetError(f"{option} must have the form NAME=VALUE: number {len(env) + 1} has no =")
        check_env_name(option, name)
        if name in env:
            raise TargetError(f"{option}: {name} is given twice")
        env[name] = value
    return env


def check_env_name(option: str, name: str) -> None:
    """Raise TargetError unless this can be the name of a variable."""
    if not _ENV_NAME.fullmatch(name):
        # What follows an = may be a secret, because the other options take NAME=VALUE.
        shown, equals, _ = name.partition("=")
        hint = "give the name alone, without a value" if equals else "use letters, digits and _"
        raise TargetError(f"{option}: {shown[:60]!r} cannot be the name of a variable; {hint}")


def find_users(installation: Installation, words: Sequence[str]) -> dict[UUID, str]:
    """The users that an option names, by id, with what was typed: uuids, e-mails, and files with one of them on each line."""
    typed: list[str] = []
    for word in words:
        path = Path(word)
        if _is_user(word) or not _is_file(path):
            typed += [part.strip() for part in word.split(",") if part.strip()]
        else:
            typed += read_user_file(path)
    if not typed:
        raise TargetError("no user is named")
    emails = sorted({word for word in typed if not _is_uuid(word)})
    if strange := [word for word in emails if "@" not in word]:
        raise TargetError(f"{strange[0]!r} is neither a user (uuid or e-mail) nor a file")
    by_email = installation.find_users(emails)
    return {(UUID(word) if _is_uuid(word) else by_email[word]): word for word in typed}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for the name of a file
        return False


def read_user_file(path: Path, *, takes_app_names: bool = False) -> list[str]:
    """One user on each line; empty lines and what follows a # are ignored. Raises TargetError."""
    try:
        if not path.is_file():
            raise TargetError(f"{path} is no file")
        if path.stat().st_size > _MOST_FILE_BYTES:
            raise TargetError(f"{path} has more than {_MOST_FILE_BYTES} bytes: it is not a list of users")
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise TargetError(f"{path} is not a text file (UTF-8) with one user on each line") from None
    for number, line in enumerate(lines, 1):
        if line and (not (takes_app_names or _is_user(line)) or not line.isprintable()):
            known = (
                "a user id, an e-mail address nor the name of an app"
                if takes_app_names
                else "a user id nor an e-mail address"
            )
            raise TargetError(f"{path}, line {number}: {line[:60]!r} is neither {known}")
    if not any(lines):
        raise TargetError(f"{path} names no user: put one on each line")
    return [line for line in lines if line]


def _is_user(word: str) -> bool:
    return "@" in word or _is_uuid(word)


def _is_uuid(word: str) -> bool:
    try:
        UUID(word)
    except ValueError:
        return False
    return True
