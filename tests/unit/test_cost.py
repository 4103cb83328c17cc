from datetime import date
from decimal import Decimal

import pytest

from shared.domain import cost

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize(
    ("cpus", "memory_mb", "usd"),
    [(2, 512, "6.00"), (1, 512, "5.00"), (2, 256, "5.50"), (1, 256, "5.00"), (4, 1024, "12.00"), (2, 700, "6.37")],
)
def test_the_estimate_follows_the_formula_of_the_product(cpus, memory_mb, usd):
    """700 MB costs 6.3671875 dollars, which rounds half-up to 6.37."""
    assert cost.estimate_monthly_usd(cpus, memory_mb) == Decimal(usd)


@pytest.mark.parametrize(
    ("exact", "usd"), [("0.005", "0.01"), ("0.125", "0.13"), ("2.675", "2.68"), ("1.0049", "1.00")]
)
def test_half_a_cent_rounds_up(exact, usd):
    assert cost.to_cents(Decimal(exact)) == Decimal(usd)


@pytest.mark.parametrize(("users", "usd"), [(10, 60), (50, 300), (100, 600), (500, 3000)])
def test_a_fleet_costs_its_users_times_the_estimate(users, usd):
    assert cost.estimate_fleet_monthly_usd(users) == Decimal(usd)


@pytest.mark.parametrize(
    ("kind", "cpus", "memory_mb", "region", "usd"),
    [
        ("shared", 2, 512, "iad", "4.39"),
        ("shared", 1, 256, "iad", "2.19"),
        ("shared", 2, 512, "sin", "5.57"),
        ("shared", 2, 512, "gru", "7.09"),
        ("shared", 8, 16384, "iad", "101.60"),
        ("performance", 1, 2048, "iad", "33.00"),
        ("performance", 16, 131072, "iad", "1104.32"),
    ],
)
def test_the_list_price_matches_the_price_that_fly_publishes(kind, cpus, memory_mb, region, usd):
    """The figures of Fly's pricing page for 30 days."""
    assert cost.to_cents(cost.list_price_monthly_usd(kind, cpus, memory_mb, region, TODAY)) == Decimal(usd)


def test_an_older_day_uses_the_older_list():
    assert cost.to_cents(cost.list_price_monthly_usd("shared", 2, 512, "iad", date(2026, 8, 1))) == Decimal("3.89")


def test_an_unknown_region_is_never_understated():
    unknown = cost.list_price_monthly_usd("shared", 2, 512, "zzz", TODAY)
    assert unknown == cost.list_price_monthly_usd("shared", 2, 512, "gru", TODAY)


def test_a_day_before_the_first_list_is_an_error():
    with pytest.raises(ValueError, match="no Fly price list covers 2020-01-01"):
        cost.list_price_usd_per_s("shared", 1, 256, "iad", date(2020, 1, 1))


@pytest.mark.parametrize(
    ("kind", "cpus", "memory_mb", "words"),
    [
        ("shared", 2, 256, "2 shared vCPU with 256 MB is refused by Fly: 2 shared vCPU need at least 512 MB"),
        ("shared", 3, 1024, "3 shared vCPU does not exist"),
        ("shared", 1, 4096, "2048 MB is the most"),
        ("shared", 1, 300, "steps of 256 MB"),
        ("performance", 1, 1024, "need at least 2048 MB"),
        ("gpu", 1, 1024, "use shared or performance"),
    ],
)
def test_a_size_that_fly_refuses_is_explained(kind, cpus, memory_mb, words):
    assert words in (cost.explain_refused_size(kind, cpus, memory_mb) or "")


@pytest.mark.parametrize(
    ("kind", "cpus", "memory_mb"), [("shared", 2, 512), ("shared", 1, 256), ("performance", 4, 8192)]
)
def test_a_size_that_fly_accepts_is_not_refused(kind, cpus, memory_mb):
    assert cost.explain_refused_size(kind, cpus, memory_mb) is None


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        ({"cpu_kind": "shared", "cpu_count": 2, "memory_mb": 512, "region": "iad"}, "2 shared vCPU, 512 MB"),
        ({"cpu_count": 2}, "2 vCPU"),
        ({"cpu_kind": "performance"}, "performance vCPU"),
        ({"memory_mb": 1024}, "1024 MB"),
        ({"image": "app:1"}, ""),
    ],
)
def test_a_size_is_told_as_far_as_it_is_known(columns, shown):
    assert cost.format_size_of(columns) == shown
