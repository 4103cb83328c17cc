"""Probing many apps at once: Fly's 429 to one probe is heard by all, and no more connections stay open than are used."""

from types import SimpleNamespace
from uuid import UUID

import httpx

from shared.domain.errors import TransientError
from shared.domain.models import Row
from shared.fleet import health_probe as probes
from shared.fly.client import FlyClient


def make_row(number: int) -> Row:
    return Row(
        id=UUID(int=number),
        user_id=UUID(int=number),
        fly_app_name=f"app-{number}",
        fly_org_slug="acme",
        network="n",
        status="active",
        desired_state="present",
        generation=1,
        region="iad",
        docker_image="app@sha256:1",
        cpu_kind="shared",
        cpu_count=1,
        memory_mb=256,
        machine_id="m1",
    )


class Refusing:
    """Fly that answers 429 once and asks for seven seconds; `asked_at` are the times of the calls."""

    def __init__(self, clock):
        self.clock, self.asked_at = clock, []

    def get_machine(self, app, machine_id, *, attempts, budget_s):
        self.asked_at.append(self.clock[0])
        if len(self.asked_at) == 1:
            attempts(1, TransientError("too many requests", status=429), 7.0)
        raise TransientError("no answer", status=503)


def test_a_429_to_one_probe_holds_back_those_that_have_not_begun(monkeypatch):
    monkeypatch.setattr(probes, "LOOKERS", 1)
    clock = [0.0]
    fly = Refusing(clock)
    worker = SimpleNamespace(
        fly=fly, clock=lambda: clock[0], sleep=lambda seconds: clock.__setitem__(0, clock[0] + seconds)
    )
    with probes.Prober(worker, lambda: False, lambda: None) as prober:
        asked = [prober.probe(make_row(number)) for number in range(3)]
        assert all(probe.result().failure.status == 503 for probe in asked)
    assert fly.asked_at == [0.0, 7.0, 7.0]


def test_idle_connections_above_the_limit_are_closed():
    fly = FlyClient("http://fly.test", "any", org_slug="acme")
    idle = [httpx.Client() for _ in range(5)]
    fly._link._idle.extend(idle)
    fly.close_idle(2)
    assert [client.is_closed for client in idle] == [True, True, True, False, False]
    fly.close()
    assert all(client.is_closed for client in idle)


def test_a_client_that_counts_from_zero_shares_connections_and_limits():
    fly = FlyClient("http://fly.test", "any", org_slug="acme")
    fly._link.calls = 7
    counted = fly.count_from_zero()
    assert (fly.calls, counted.calls) == (7, 0)
    assert counted._link._idle is fly._link._idle
    assert counted._link._limits is fly._link._limits
