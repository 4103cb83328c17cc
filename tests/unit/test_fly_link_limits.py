"""The rate limits that a caller gives to the client are the ones it keeps."""

from local.fly.simulator import FlySim
from local.fly.transport import SimTransport
from shared.domain.errors import HangarError
from shared.fly.client import FlyClient
from shared.fly.rate_limits import RateLimits


def test_limits_that_remember_nothing_yet_are_kept():
    """A new `RateLimits` has length zero; the client must not replace it with one of its own."""
    now = [0.0]
    limits = RateLimits(lambda: now[0], lambda seconds: now.__setitem__(0, now[0] + seconds), deletions_a_minute=1000)
    sim = FlySim(lambda: now[0])
    with FlyClient(
        "http://fly.test",
        "any",
        org_slug="acme",
        limits=limits,
        transport=SimTransport(sim, lambda _: None),
        clock=lambda: now[0],
    ) as fly:
        for number in range(101):
            try:
                fly.delete_app(f"app-{number}")
            except HangarError as error:
                raise AssertionError("the client keeps limits of its own") from error
    assert now[0] < 1.0
    assert len(limits) == 101
