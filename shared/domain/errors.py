# ruff: noqa: N818  the branches are named for what the caller does, not for being errors
"""Every failure an adapter reports: one class for each reaction of the caller.

    HangarError              never raised itself; `except HangarError` means "any failure outside this process"
    ├── TransientError       it did not happen and may succeed later; already repeated inside the call where that is safe
    │   ├── OutcomeUnknown   no answer, or one that proves nothing: it MAY have happened; observe before the next action
    │   └── Throttled        the call was not sent, to keep a rate limit; not a failure, continue in `retry_after_s`
    ├── Capacity             no room (region, host, quota): try much later or elsewhere, never at once
    ├── Conflict             it exists already, or someone else changed it: read again; `machine_id` names what to adopt
    ├── NameTaken            the app's name is in use: find out whose it is, else take the next name
    ├── NotOwned             the app belongs to another organisation: never touch it
    ├── NotFound             it does not exist (any more)
    ├── LeaseLost            another worker owns the row, or may by now: stop, and change nothing more
    ├── SaveFailed           the database did not accept a save: stop; the row stays due
    ├── Refused              permanent: a person must change something; `code` says what, `advice` says how
    └── InternalError        our own mistake: report it, do not repeat it

Catch `OutcomeUnknown` and `Throttled` before `TransientError`. `code` is a short stable word for the row's `error_code`;
`str()` says what happened to which app and what to do next, and never contains a credential or more than 256 characters of a
response body.
"""

from __future__ import annotations

from typing import ClassVar


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


class TransientError(HangarError):
    """Transient, and without effect; `retry_after_s` is what the other side asked for, if it did."""

    default_code = "transient"
    # Set by the client that made the call: whether repeating it cannot do the thing twice, and whether Fly is still settling.
    may_repeat: bool = True
    is_settling: bool = False

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


class OutcomeUnknown(TransientError):
    """Outcome unknown (time-out, reset, 408, 5xx, unreadable answer to a write): the effect may have happened."""

    default_code = "outcome_unknown"


class Throttled(TransientError):
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


class NotOwned(HangarError):
    """The app answers 403: another organisation holds it."""

    default_code = "foreign"


class NotFound(HangarError):
    """404 or 410. Right after a create it may only mean "not visible yet"; the caller knows, this class does not."""

    default_code = "gone"


class Refused(HangarError):
    """Permanent until a person acts.

    Codes: "image", "size", "quota", "auth", "org", "name", "bad_request", "unsupported".
    """

    default_code = "bad_request"


class InternalError(HangarError):
    """Something our own code should never have asked."""

    default_code = "bug"
    default_advice = "Please report this with the log lines around it"


class LeaseLost(HangarError):
    """Another worker owns the row, or may own it by now: stop, and change nothing more."""

    default_code = "lease_lost"


class SaveFailed(HangarError):
    """The database did not accept a save: stop. The row stays due, and the next worker finds what was done on Fly."""

    default_code = "save_failed"

    def __init__(self, cause: HangarError) -> None:
        super().__init__(str(cause))
        self.cause = cause
