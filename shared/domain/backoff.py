"""What an error means for a row: whether it is a failure at all, and when the next attempt is. Pure."""

from collections.abc import Callable, Collection
from http import HTTPStatus

from shared.domain.actions import ActionKind
from shared.domain.errors import HangarError, InternalError, Refused, Throttled, TransientError
from shared.domain.models import Row, Settings

ATTEMPTS_A_ROUND = 4
# Everything is retried automatically except errors that only a change of this app's plan can fix: after a wrong token, an
# unexpected response or a bug of ours, an operator should not have to retry every user by hand.
NEEDS_A_PERSON = {"image", "size"}


def needs_a_person(row: Row, error: HangarError) -> bool:
    """Whether no further attempt can succeed until a person changes something.

    An app that has run and wants an image by its digest, as on its way back from a release, may only have a registry out of
    reach, and must not stay on a bad image because of that.
    """
    has_run = row.observed_generation is not None
    return error.code in NEEDS_A_PERSON and not (error.code == "image" and "@" in row.docker_image and has_run)


def counts_as_before(row: Row, calls: Collection[ActionKind], error: TransientError) -> bool:
    """Whether an app that could not be read keeps its status: nothing was wrong with it, and unknown is not unhealthy."""
    return (
        not isinstance(error, Throttled)
        and row.status == "active"
        and row.observed_generation == row.generation
        and row.health_status != "unhealthy"
        and not calls
        and error.code != "contradiction"  # Fly is there, and what it says needs a person's eyes
    )


def asked_to_wait_s(error: HangarError, settings: Settings) -> float | None:
    """Seconds to wait when Fly's rate limits ended the call, which is not a failure; else None.

    Either the call's turn comes too late for it, or Fly's own 429 names a time that it could not wait for.
    """
    if isinstance(error, Throttled):
        return max(error.retry_after_s or 0.0, 1.0)
    if (
        isinstance(error, TransientError)
        and error.status == HTTPStatus.TOO_MANY_REQUESTS
        and error.attempts_made < ATTEMPTS_A_ROUND
    ):
        return min(max(error.retry_after_s, 1.0), settings.retry_cap_s) if error.retry_after_s else None
    return None


def choose_next_attempt_s(
    row: Row, error: HangarError, retries: int, settings: Settings, chance: Callable[[], float]
) -> float | None:
    """Seconds until the row's next attempt after `retries` failed attempts; None if an operator has to act first."""
    if needs_a_person(row, error):
        return None
    slow = isinstance(error, Refused | InternalError)
    return settings.retry_cap_s if slow else back_off_s(retries, settings, chance)


def back_off_s(retries: int, settings: Settings, chance: Callable[[], float]) -> float:
    """`retry_base_s`, doubled by every further round up to `retry_cap_s`, less up to a quarter by `chance` (0 to 1)."""
    rounds = -(-retries // ATTEMPTS_A_ROUND)
    doubled: float = settings.retry_base_s * 2.0 ** min(rounds - 1, 16)
    return min(doubled, settings.retry_cap_s) * (0.75 + 0.25 * chance())
