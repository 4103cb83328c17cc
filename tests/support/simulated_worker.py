"""A worker with the two use cases as methods, as the HTTP functions call them."""

from uuid import UUID

from shared.domain.models import OperatorRequest
from shared.reconcile.reconciler import reconcile
from shared.reconcile.restart import restart
from shared.reconcile.result import Result
from shared.reconcile.worker import Worker


class SimulatedWorker(Worker):
    """Passes for a `Worker` wherever one is wanted."""

    def reconcile(
        self, user_id: UUID, deadline_s: float, *, force: bool = False, asked: OperatorRequest | None = None
    ) -> Result:
        """As `shared.wiring.Runtime.reconcile`."""
        if asked is not None and asked.what == "restart":
            return restart(self, user_id, deadline_s, asked)
        return reconcile(self, user_id, deadline_s, force=force, request=asked)
