"""A host whose subscriptions are read too slowly: one alert says so, and the sweep judges the fleet's health all the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shared.adapters.notifications import Notifier
from shared.domain.errors import STATEMENT_TIMEOUT, TransientError


@dataclass
class HostReading:
    """The time-outs of one call of `health` while it reads the host. `error` is the last one, None if there was none."""

    notifier: Notifier
    error: TransientError | None = None

    @contextmanager
    def catch_timeout(self) -> Iterator[None]:
        """Keep a time-out as `error`, and raise the alert at the first one. Every other error passes."""
        try:
            yield
        except TransientError as error:
            if error.code != STATEMENT_TIMEOUT:
                raise
            if self.error is None:
                self._alert(error)
            self.error = error

    def end_alert(self, resolve: Callable[[str, str], bool]) -> None:
        """Resolve the alert, unless this call has met a time-out itself."""
        if self.error is None:
            resolve("host_binding", "fleet")

    def raise_error(self) -> None:
        """End the call in the time-out that it met, if it met one."""
        if self.error is not None:
            raise self.error

    def _alert(self, error: TransientError) -> None:
        message = (
            f"Users cannot be brought up to date with the host's subscriptions in time: {error}. Hangar changes and destroys "
            "nothing because of it, judges health as usual, and tries again with every sweep. If a function or view is bound, "
            "make it faster: take `uuid[]`, use an index. See docs/host-binding.md"
        )
        self.notifier.open("host_binding", "fleet", message, {"error": str(error)})
