# ruff: noqa: N818  the classes are named for the caller's reaction, not for being errors
"""Every failure that an adapter reports: one class for each reaction of the caller.

    HangarError              never raised directly; `except HangarError` means "any failure outside this process"
    ├── TransientError       nothing happened, and the call may succeed later; safe calls were already repeated inside
    │   ├── OutcomeUnknown   no usable response: the effect MAY have happened; observe before the next action
    │   └── Throttled        not sent, to keep a rate limit; not a failure, continue after `retry_after_s`
    ├── Capacity             no room (region, host, quota): try much later or elsewhere, never at once
    ├── Conflict             it exists already, or it changed meanwhile: observe again; adopt `machine_id` if it is set
    ├── NameTaken            the app name is in use: find out who owns it, otherwise take the next name
    ├── NotOwned             Fly says that the app belongs to another organisation: never touch it
    ├── NotFound             it does not exist, or no longer exists
    ├── Withheld             the database no longer allows a call that is being repeated: decide again
    ├── LeaseLost            another worker owns the row, or may by now: stop, and change nothing more
    ├── SaveFailed           the database did not accept a save: stop; the row stays due
    ├── Refused              permanent until a person changes something; `code` says what, `advice` says how
    └── InternalError        a mistake in Hangar: report it, do not repeat the call

Catch `OutcomeUnknown` and `Throttled` before `TransientError`. `code` is a short stable word, stored as the row's `error_code`.
`str()` says what happened to which app and what to do next. It never contains a credential or more than 256 characters of a
response body.
"""

from __future__ import annotations

from typing import ClassVar

# The code of a TransientError of the database: it cancelled a statement, usually because it took too long (Postgres, SQLSTATE).
STATEMENT_TIMEOUT = "57014"


class HangarError(Exception):
    """A failure whose class names the caller's reaction.

    `status` and `fly_request_id` are those of the response, if there was one. `retry_after_s` is the wait that the other side
    asked for. `machine_id` names an existing machine. `attempts_made` counts the attempts of the call that failed.
    """

    default_code: ClassVar[str] = "error"
    default_advice: ClassVar[str] = ""
    # Whose failure it is, for people: "the database", "Supabase Auth". Empty: Fly's.
    source: str = ""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        advice: str | None = None,
        status: int | None = None,
        fly_request_id: str | None = None,
        retry_after_s: float | None = None,
        machine_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.advice = self.default_advice if advice is None else advice
        self.status = status
        self.fly_request_id = fly_request_id
        self.retry_after_s = retry_after_s
        self.machine_id = machine_id
        self.attempts_made = 1

    def __str__(self) -> str:
        advice = f". {self.advice}" if self.advice else ""
        trace = f" [fly-request-id {self.fly_request_id}]" if self.fly_request_id else ""
        return f"{self.message}{advice}{trace}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r}, code={self.code!r}, status={self.status!r})"


class TransientError(HangarError):
    """Nothing happened, and the same call may succeed later."""

    default_code = "transient"
    # Set by the client that made the call: whether repeating it cannot do the thing twice, and whether Fly is still settling.
    may_repeat: bool = True
    is_settling: bool = False


class OutcomeUnknown(TransientError):
    """The effect may have happened: time-out, reset, 408, 5xx, or an unreadable response to a write."""

    default_code = "outcome_unknown"


class Throttled(TransientError):
    """Held back by Hangar before it was sent. `retry_after_s` is the time until its turn."""

    default_code = "rate_limited"


class Capacity(HangarError):
    """No room now. Codes: "region_full", "host", "volume", and "quota" where another region may still have room."""

    default_code = "region_full"


class Conflict(HangarError):
    """It exists already or changed meanwhile. `machine_id` is set if the response names the existing machine."""

    default_code = "conflict"


class NameTaken(HangarError):
    """The app name is in use, perhaps by Hangar itself. App names are global across all of Fly."""

    default_code = "name_taken"


class NotOwned(HangarError):
    """Fly answers 403 with the words of another organisation's app. A 403 with other words is `Refused`."""

    default_code = "not_owned"


class NotFound(HangarError):
    """404 or 410. Right after a create it may only mean "not visible yet"; the caller decides."""

    default_code = "gone"


class Refused(HangarError):
    """Permanent until a person changes something. It destroys nothing and replaces nothing.

    Codes: "billing", "quota", "policy", "token" (these concern the whole organisation: `hangar.is_org_wide`), "image",
    "size", "org", "name", "unsupported", "not_owned", else "refused". The database answers "auth" when it refuses our key, and
    "migrations" and "invalid_value".
    """

    default_code = "refused"


class InternalError(HangarError):
    """A request that Hangar should never have made."""

    default_code = "bug"
    default_advice = "Please report this with the log lines around it"


class LeaseLost(HangarError):
    """Another worker owns the row, or may own it by now: stop, and change nothing more."""

    default_code = "lease_lost"


class Withheld(HangarError):
    """The database no longer allows the next attempt of a call. `code` is its refusal, as in the answer of `fly_save`."""

    default_code = "withheld"


class SaveFailed(HangarError):
    """The database did not accept a save: stop. The row stays due, and the next worker finds what was done on Fly."""

    default_code = "save_failed"

    def __init__(self, cause: HangarError) -> None:
        super().__init__(str(cause))
        self.cause = cause
