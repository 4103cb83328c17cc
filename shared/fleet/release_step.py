"""Releases within a call of `health`: what goes wrong with them stops nothing else of the call."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.domain.errors import HangarError, TransientError
from shared.fleet.releases import advance_releases

if TYPE_CHECKING:
    from shared.reconcile.worker import Worker

_log = logging.getLogger("hangar.releases")


@dataclass
class ReleaseStep:
    """One attempt to move releases on. `error` is why it failed; None if it did not.

    The database pauses a release that fails by itself. This is for what no single release is to blame for.
    """

    worker: "Worker"
    error: Exception | None = None

    def advance(self, ends_at: float) -> None:
        """Move every release on until `ends_at` on the worker's clock. Keep an error, and raise the alert if it will not pass."""
        try:
            advance_releases(self.worker, ends_at)
        except Exception as error:  # noqa: BLE001  drains, sweeps and alerts matter more than the progress of a release
            _log.exception("releases could not be moved on")
            self.error = error
            if not isinstance(error, TransientError):
                self._alert(error)

    def end_alert(self, resolve: Callable[[str, str], bool]) -> None:
        """Resolve the alert, unless this call has met an error itself."""
        if self.error is None:
            resolve("release_failed", "fleet")

    def raise_error(self) -> None:
        """End the call in the error that it met, if it met one."""
        if self.error is not None:
            raise self.error

    def _alert(self, error: Exception) -> None:
        found = (
            error if isinstance(error, HangarError) else type(error).__name__
        )  # what others write may hold a credential
        message = (
            f"No release can be moved on: {found}. Apps that are moving keep what they have. Hangar does "
            "everything else as usual, and tries again with every drain. Look at the log of the function `health`"
        )
        self.worker.notifier.open("release_failed", "fleet", message, {})
