"""Repeats a call: the policy is a value, tenacity carries it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, TypeVar

import tenacity

from shared.domain.errors import HangarError, Throttled, TransientError

if TYPE_CHECKING:
    from tenacity import RetryCallState

# Called with (number of the failed attempt, its error, seconds until the next one). The last failure is not reported
# here: it is the error raised, whose `attempts_made` counts it.
AttemptLog = Callable[[int, HangarError, float], None]
T = TypeVar("T")


class CallOptions(TypedDict, total=False):
    """What every call takes: who hears of failed attempts that are repeated, and the seconds after which none begins."""

    attempts: AttemptLog | None
    budget_s: float | None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits between attempts, in seconds; a machine that is still settling is called again in short steps instead."""

    waits_s: tuple[float, ...] = (2.0, 4.0, 8.0)
    retry_after_cap_s: float = 30.0
    settle_step_s: float = 1.0
    settle_steps: int = 60

    def hold_s(self, error: HangarError) -> float:
        """Seconds to send nothing after this 429: what Fly asks for, or the first wait if it names no future time."""
        requested_s = error.retry_after_s if isinstance(error, TransientError) else None
        first_wait_s = self.waits_s[0] if self.waits_s else self.settle_step_s
        return min(requested_s or first_wait_s, self.retry_after_cap_s)


@dataclass(slots=True)
class RetryState:
    """What one call went through so far; decides whether, and after how long, it is attempted again.

    `ends_at` on `clock` is the end of the call's budget: no attempt begins after it.
    """

    policy: RetryPolicy
    clock: Callable[[], float]
    ends_at: float | None
    attempts: int = 0
    failures: int = 0
    settlings: int = 0
    given_up: bool = False
    last_error: HangarError | None = None

    def run_attempt(self, attempt: Callable[[], T]) -> T:
        """One attempt, counted. Raises what it raises, or the last real error when it may not be sent any more."""
        # Checked again after the wait: a process may have been suspended in it, and its lease may have expired.
        if self.last_error is not None and self.ends_at is not None and self.clock() > self.ends_at:
            self.given_up = True
            raise self.last_error
        try:
            result = attempt()
        except Throttled as throttled:
            throttled.attempts_made = 0
            self.given_up = True
            # What an earlier attempt may have done is not undone by holding this one back.
            raise (self.last_error or throttled) from None
        except HangarError as error:
            self.attempts += 1
            error.attempts_made = self.attempts
            self.last_error = error
            raise
        return result

    def is_repeatable(self, error: BaseException) -> bool:
        """Whether `error` is transient, and repeating cannot do the thing twice."""
        return isinstance(error, TransientError) and error.may_repeat

    def choose_wait_s(self, state: RetryCallState) -> float:
        error = _failure_of(state)
        if isinstance(error, TransientError) and error.is_settling:
            self.settlings += 1
            return self.policy.settle_step_s
        self.failures += 1
        if isinstance(error, TransientError) and error.retry_after_s:  # "0" would be a loop without a pause
            return min(error.retry_after_s, self.policy.retry_after_cap_s)
        return self.policy.waits_s[self.failures - 1] if self.failures <= len(self.policy.waits_s) else 0.0

    def is_over(self, state: RetryCallState) -> bool:
        """Whether the attempts are used up or given up, or the next one would begin after the budget's end."""
        if self.given_up or self.failures > len(self.policy.waits_s) or self.settlings > self.policy.settle_steps:
            return True
        return self.ends_at is not None and self.clock() + state.upcoming_sleep > self.ends_at


def repeat(
    attempt: Callable[[], T],
    retries: RetryState,
    *,
    sleep: Callable[[float], None],
    before_wait: AttemptLog | None = None,
) -> T:
    """The result of `attempt`, or the error of its last run. `before_wait` gets every failed one that is repeated."""

    def report(state: RetryCallState) -> None:
        if before_wait is not None:
            before_wait(state.attempt_number, _failure_of(state), state.upcoming_sleep)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(retries.is_repeatable),
        wait=retries.choose_wait_s,
        stop=retries.is_over,
        sleep=sleep,
        before_sleep=report,
        reraise=True,
    )
    result: T = retrying(retries.run_attempt, attempt)
    return result


def _failure_of(state: RetryCallState) -> HangarError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, HangarError):  # only `TransientError` passes `is_repeatable`
        raise TypeError("asked for the failure of an attempt that did not fail")
    return error
