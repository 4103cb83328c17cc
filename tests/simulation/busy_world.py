"""A world under load: several processes on a stage, Fly with its own rate limits, and a note of when apps were deleted."""

from bench.fleet import make_fleet
from local.fly.simulator import FlySim
from shared.fleet.sweep import Sweep
from shared.fly.client import FlyClient
from tests.simulation.storm_world import CountingTransport, StormWorld
from tests.simulation.world import ORG


class BusyWorld(StormWorld):
    """Nothing fails here but what Fly's limits refuse; `deletions` are the times of deletions, `refused` every 429."""

    def __init__(self, url: str) -> None:
        super().__init__(url, seed=2)
        self.sim = FlySim(self.clock, seed=2, rate_limits=True, org=ORG)
        self.deletions: list[float] = []
        self.refused: list[str] = []
        self.reconciler = self.new_worker()

    def new_worker(self):
        worker = super().new_worker()
        if self.stage is None:
            return worker  # the world is not complete yet
        worker.fly = FlyClient(
            "http://fly.test",
            "any",
            org_slug=ORG,
            transport=NotingTransport(self),
            sleep=self.stage.pause,
            clock=self.clock,
        )
        return worker

    def have_fleet(self, count: int):
        """Active apps at rest."""
        self.sql("select 1")

        def boot():
            self.clock.advance(60)
            self.sim.settle()
            self.sql("select 1")

        return make_fleet(self.host, self.sim, count, boot)

    def call_health(self, name: str, *, drain_only: bool, seconds: float = 50.0) -> list:
        """One process of `health`, as the scheduler calls it; its report is in the list once it has ended."""
        reports = []

        def run(worker):
            reports.append(Sweep(worker, self.clock() + seconds).run(drain_only=drain_only))

        self.run_worker(name, run)
        return reports

    def pass_minute(self) -> None:
        self.stage.run(self.clock() + 60)

    def count_events(self, *kinds: str) -> int:
        [(count,)] = self.sql("select count(*) from public.user_fly_app_events where event_type = any(%s)", list(kinds))
        return count


class NotingTransport(CountingTransport):
    """Notes when Fly took a deletion, and whatever it refused as too much."""

    def handle_request(self, request):
        response = super().handle_request(request)
        if response.status_code == 429:
            self.world.refused.append(f"{request.method} {request.url.path}")
        elif request.method == "DELETE" and request.url.path.count("/") == 3:
            self.world.deletions.append(self.world.clock())
        return response


def most_in_a_minute(times) -> int:
    """The most of `times` in any window of 60 s."""
    return max((sum(start <= at < start + 60 for at in times) for start in times), default=0)
