# ruff: noqa: N818  the branches are named for what the caller does, not for being errors
"""Every failure an adapter (Fly, store, auth) reports: one branch for each reaction of the caller.

    HangarError            never raised itself; `except HangarError` means "whatever went wrong outside"
    ├── Retry              it did not happen and may succeed later; was already repeated in the call where that is safe
    │   ├── Unknown        no answer, or one that proves nothing: it MAY have happened; observe before the next action
    │   └── Throttled      we did not even ask, to keep a rate limit: no failure of anybody, go on in `retry_after_s`
    ├── Capacity           no room (region, host, quota): try much later or elsewhere, never at once
    ├── Conflict           it exists already, or someone else changed it: read again; `machine_id` names what to adopt
    ├── NameTaken          the app's name is in use: look whose it is, else take the next name
    ├── Foreign            the app belongs to another organisation: never touch it
    ├── Gone               it does not exist (any more)
    ├── Refused            permanent: a person must change something; `code` says what, `advice` says how
    └── Bug                our own mistake: report it, do not repeat it

Catch `Unknown` and `Throttled` before `Retry`. `code` is a short stable word for the row's `error_code`; `str()` says what
happened to which app and what to do next, and never holds a credential or more than 256 characters of a body.
"""

from __future__ import annotations

from typing import ClassVar

from shared.credentials import mask_credentials

EXCERPT_CHARS = 256


class HangarError(Exception):
    """A failure with its reaction as its type; `attempts_made` counts the tries of the call that ended in it."""

    default_code: ClassVar[str] = "error"
    default_advice: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        advice: str | None = None,
        status: int | None = None,
        fly_request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.advice = self.default_advice if advice is None else advice
        self.status = status
        self.fly_request_id = fly_request_id
        self.attempts_made = 1

    def __str__(self) -> str:
        advice = f". {self.advice}" if self.advice else ""
        trace = f" [fly-request-id {self.fly_request_id}]" if self.fly_request_id else ""
        return f"{self.message}{advice}{trace}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r}, code={self.code!r}, status={self.status!r})"


class Retry(HangarError):
    """Transient, and without effect; `retry_after_s` is what the other side asked for, if it did."""

    default_code = "transient"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        code: str | None = None,
        advice: str | None = None,
        status: int | None = None,
        fly_request_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code, advice=advice, status=status, fly_request_id=fly_request_id)
        self.retry_after_s = retry_after_s


class Unknown(Retry):
    """Outcome unknown (time-out, reset, 408, 5xx, unreadable answer to a write): the effect may have happened."""

    default_code = "outcome_unknown"


class Throttled(Retry):
    """Held back by ourselves before it was sent; `retry_after_s` is when its turn comes."""

    default_code = "rate_limited"


class Capacity(HangarError):
    """No room now. Codes: "region", "host", "volume", "quota"."""

    default_code = "region"


class Conflict(HangarError):
    """It exists already or was changed meanwhile; `machine_id` is set when the answer names the existing machine."""

    default_code = "conflict"

    def __init__(
        self,
        message: str,
        *,
        machine_id: str | None = None,
        code: str | None = None,
        advice: str | None = None,
        status: int | None = None,
        fly_request_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code, advice=advice, status=status, fly_request_id=fly_request_id)
        self.machine_id = machine_id


class NameTaken(HangarError):
    """Someone (perhaps we) holds this app name already; names are global across all of Fly."""

    default_code = "name_taken"


class Foreign(HangarError):
    """The app answers 403: another organisation holds it."""

    default_code = "foreign"


class Gone(HangarError):
    """404 or 410. Right after a create it may only mean "not visible yet"; the caller knows, this class does not."""

    default_code = "gone"


class Refused(HangarError):
    """Permanent until a person acts.

    Codes: "image", "size", "quota", "auth", "org", "name", "bad_request", "unsupported".
    """

    default_code = "bad_request"


class Bug(HangarError):
    """Something our own code should never have asked."""

    default_code = "bug"
    default_advice = "Please report this with the log lines around it"


def cut_excerpt(text: str, limit: int = EXCERPT_CHARS) -> str:
    """`text` on one line, at most `limit` characters, the cut marked by an ellipsis; what looks like a credential is masked.

    Whatever comes from outside passes here on its way into a message, and a message is stored, sent and shown.
    """
    line = " ".join(mask_credentials(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
