"""How a simulated process is wired: the product's real worker over a link to Postgres and a transport into Fly's simulator.

This is the only place of the simulation that knows what the product's worker is made of.
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
    """Passes for a `Worker` wherever one is wanted."""

    def reconcile(
        self, user_id: UUID, deadline_s: float, *, force: bool = False, asked: OperatorRequest | None = None
    ) -> Result:
        """As `shared.wiring.Runtime.reconcile`."""
        if asked is not None and asked.what == "restart":
            return restart(self, user_id, deadline_s, asked)
        return reconcile(self, user_id, deadline_s, force=force, request=asked)


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
    """A fresh process, which knows nothing but what is in the database and on Fly.

    With `short_path` calls go to the transport without httpx's client, which costs more than both ends together.
    """
    fly = FlyClient("http://fly.test", "any", org_slug=ORG, transport=transport, sleep=sleep, clock=clock)
    if short_path:
        fly._link = _ShortLink("http://fly.test", "any", transport=transport, sleep=sleep, clock=clock)
    database = Database(link)
    inputs = MachineInputs(installation_id, lambda row: {"USER_ID": str(row.user_id)}, lambda _: {"TOKEN": "t"})
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
    """Hands a call to the transport as it is, without a request of httpx's."""

    def _exchange(self, call: Request) -> Response:
        self.calls += 1
        return read_answer(self._transport.handle_request(ShortRequest(call)))
