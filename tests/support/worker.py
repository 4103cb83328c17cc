"""Builds a simulated process: the product's real worker over a link to Postgres and a transport to Fly's simulator.

Only this module of the simulation knows the parts of the product's worker.
"""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import httpx

from shared.adapters.alert_webhook import AlertWebhook
from shared.adapters.notifications import Notifier
from shared.adapters.procedures import Database
from shared.domain.models import OperatorRequest
from shared.fly.client import FlyClient
from shared.fly.messages import Request, Response, read_answer
from shared.fly.transport import FlyLink
from shared.reconcile.reconciler import reconcile
from shared.reconcile.restart import restart
from shared.reconcile.result import Result
from shared.reconcile.worker import MachineInputs, Worker
from tests.support.clock import Clock
from tests.support.fly_link import ShortRequest

ORG = "hangar-test"


class SimulatedWorker(Worker):
    """Takes the place of a `Worker`."""

    def reconcile(
        self, user_id: UUID, deadline_s: float, *, force: bool = False, request: OperatorRequest | None = None
    ) -> Result:
        """Like `shared.wiring.Runtime.reconcile`."""
        if request is not None and request.what == "restart":
            return restart(self, user_id, deadline_s, request)
        return reconcile(self, user_id, deadline_s, force=force, request=request)


def build_worker(
    *,
    link: Any,
    transport: httpx.BaseTransport,
    installation_id: UUID,
    clock: Clock,
    sleep: Callable[[float], None],
    new_id: Callable[[], UUID],
    chance: Callable[[], float],
    short_path: bool = False,
    webhooks: Sequence[AlertWebhook] = (),
) -> SimulatedWorker:
    """A new process, which knows only what is in the database and on Fly.

    With `short_path` calls go to the transport without httpx's client, which takes longer than caller and simulator together.
    """
    fly = FlyClient("http://fly.test", "any", org_slug=ORG, transport=transport, sleep=sleep, clock=clock)
    if short_path:
        fly._link = _ShortLink("http://fly.test", "any", transport=transport, sleep=sleep, clock=clock)
    database = Database(link)
    inputs = MachineInputs(
        installation_id,
        lambda row: {"USER_ID": str(row.user_id), **(row.extra_env or {})},
        lambda _, issued_at: {"TOKEN": issued_at.isoformat()},
    )
    return SimulatedWorker(
        database=database,
        fly=fly,
        inputs=inputs,
        notifier=Notifier(database, webhooks, clock),
        clock=clock,
        sleep=sleep,
        new_id=new_id,
        chance=chance,
    )


class _ShortLink(FlyLink):
    """Passes a call to the transport directly, without building an httpx request."""

    def _exchange(self, call: Request) -> Response:
        self.calls += 1
        return read_answer(self._transport.handle_request(ShortRequest(call)))
