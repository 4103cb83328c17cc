"""While a call is repeated, its failed tries are told: on the row, on its page and in the log, before each wait."""

from collections.abc import Callable
from dataclasses import dataclass

from shared.domain.errors import HangarError
from shared.reconcile.lease import LeasedApp


@dataclass
class RetryProgress:
    """The tries of the call that is under way, as the row shows them. `save` sends what has gathered."""

    held: LeasedApp
    save: Callable[[], object]
    _are_told: bool = False

    def note(self, number: int, error: HangarError, wait_s: float) -> None:
        """One try failed and is repeated after `wait_s` seconds. Raises LeaseLost and StoreFailed."""
        journal = self.held.journal
        journal.attempt(self.held.row, number, error, wait_s)
        # A look changes nothing and belongs to no intent; a machine that settles is asked every second.
        if journal.is_open and error.code != "settling":
            self._tell(error, wait_s)

    def forget(self) -> None:
        """The call has ended: only the failure of a whole round stays on the row, and whoever fails writes that."""
        if self._are_told:
            row = self.held.row
            self.held.patch |= {"retry_count": row.retry_count, "error_message": row.error_message}
            self._are_told = False

    def _tell(self, error: HangarError, wait_s: float) -> None:
        """What was decided stays decided by the row as it was."""
        planned = self.held.row
        self.held.patch |= {
            "retry_count": planned.retry_count + self.held.journal.failed_attempts,
            "error_message": f"{error}; tried again in {wait_s:.0f} s",
        }
        self.save()
        self.held.row, self._are_told = planned, True
