"""The cost report: Decimal amounts, and no saving by a size that Fly refuses."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.cost import explain_refused_size
from shared.domain.cost_report import find_savings, make_cost_report, project

ON = date(2026, 11, 23)
SIZE = {"cpu_kind": "shared", "cpu_count": 2, "memory_mb": 512}


def group(apps=10, **changes):
    usual = {**SIZE, "tier": "pro", "region": "iad", "power": "always_on", "apps": apps, "running": apps}
    return {**usual, "monthly_cost_estimate_usd": str(Decimal("6.00") * apps), **changes}


def report(*groups, counts=(10, 50, 100, 500), prices=None):
    spent = {"usd": "1.005", "running_seconds": "3600", "unpriced_seconds": "0", "users": 1}
    at = datetime(2026, 11, 23, 3, tzinfo=UTC).isoformat()
    plans = [
        {**SIZE, "tier": tier, "region": "iad", "power": "always_on", "price_usd": (prices or {}).get(tier)}
        for tier in ("pro", "elite")
    ]
    usage = {"now": at, "month_start": at, "groups": groups, "to_date": spent, "users": [], "plans": plans}
    return make_cost_report(usage, list(counts))


def test_the_projection_for_four_fleet_sizes():
    """10, 50, 100 and 500 users of 2 vCPU and 512 MB: 60, 300, 600 and 3,000; Fly's list in iad: 4.39 each."""
    lines = report()["projections"]
    assert [line["monthly_cost_estimate_usd"] for line in lines] == ["60.00", "300.00", "600.00", "3000.00"]
    assert [line["monthly_list_price_usd"] for line in lines] == ["43.88", "219.41", "438.83", "2194.13"]
    assert lines[0]["tiers"] == "pro, elite"


def test_two_sizes_are_two_lines():
    plans = [{**SIZE, "tier": "pro", "region": "iad"}, {**SIZE, "memory_mb": 1024, "tier": "elite", "region": "iad"}]
    assert [(line["tiers"], line["monthly_cost_estimate_usd"]) for line in project(plans, [1], ON)] == [
        ("pro", "6.00"), ("elite", "7.00"),
    ]  # fmt: skip


def test_tiers_and_regions_sum_to_the_total():
    """Every app is in one tier and one region."""
    made = report(group(3), group(2, tier="elite", region="gru"), group(1, region="gru"))
    assert made["total"]["apps"] == 6
    assert made["total"]["monthly_cost_estimate_usd"] == "36.00"
    assert made["total"]["monthly_list_price_usd"] == "34.43"
    for key in ("by_tier", "by_region"):
        assert sum(line["apps"] for line in made[key]) == 6
        assert abs(sum(Decimal(line["monthly_list_price_usd"]) for line in made[key]) - Decimal("34.43")) <= Decimal(
            "0.01"
        )


def test_the_margin_of_a_tier_is_what_its_users_pay_less_the_cost_of_all_its_apps():
    """Three apps in iad cost 4.39 each by Fly's list, and two of their users pay 29."""
    made = report(group(2, paying=1), group(1, paying=1), prices={"pro": "29.00"})
    assert made["margins"] == [
        {"tier": "pro", "price_usd": "29.00", "apps": 3, "paying": 2, "monthly_income_usd": "58.00",
         "monthly_list_price_usd": "13.16", "monthly_margin_usd": "44.84"},
    ]  # fmt: skip


def test_a_tier_that_nobody_pays_for_loses_what_it_costs():
    [margin] = report(group(1, paying=0), prices={"pro": "29.00"})["margins"]
    assert (margin["monthly_income_usd"], margin["monthly_margin_usd"]) == ("0.00", "-4.39")


@pytest.mark.parametrize(
    "made",
    [
        report(group(1, paying=1)),
        report(group(1, tier="gone", paying=1), prices={"pro": "29.00"}),
        report(group(1), prices={"pro": "29.00"}),
    ],
    ids=["no price", "no plan", "an older database"],
)
def test_a_margin_that_nobody_knows_is_not_shown_as_a_number(made):
    [margin] = made["margins"]
    assert (margin["monthly_income_usd"], margin["monthly_margin_usd"]) == (None, None)
    assert margin["monthly_list_price_usd"] == "4.39"


def test_cents_are_rounded_half_up():
    assert report()["month_to_date"]["list_price_usd"] == "1.01"


def test_savings_name_refused_sizes_and_assumptions():
    """Fly refuses 2 shared vCPU with 256 MB and accepts 1 vCPU. The saving by sleeping is marked as an assumption."""
    found = {line["change"]: line for line in find_savings([group(10)], ON)}
    assert found["1 vCPU, memory as it is"]["saves_estimate_usd"] == "10.00"
    assert found["1 vCPU, memory as it is"]["saves_list_price_usd"] == "6.93"
    assert (found["256 MB, vCPUs as they are"]["apps"], found["256 MB, vCPUs as they are"]["saves_estimate_usd"]) == (
        0,
        "0.00",
    )
    assert "at least 512 MB" in found["256 MB, vCPUs as they are"]["note"]
    assert found["1 vCPU and 256 MB"]["saves_list_price_usd"] == "21.94"
    sleep = next(line for name, line in found.items() if name.startswith("asleep"))
    assert (sleep["saves_estimate_usd"], sleep["saves_list_price_usd"]) == ("0.00", "14.63")
    assert sleep["note"].startswith("an assumption")


@given(
    kind=st.sampled_from(["shared", "performance"]),
    cpus=st.integers(1, 16),
    memory=st.integers(1, 64).map(lambda steps: steps * 256),
    apps=st.integers(1, 10_000),
)
def test_no_saving_is_negative(kind, cpus, memory, apps):
    """For every machine size that Fly accepts."""
    if explain_refused_size(kind, cpus, memory):
        return
    size = {"cpu_kind": kind, "cpu_count": cpus, "memory_mb": memory, "monthly_cost_estimate_usd": "1.00"}
    for line in find_savings([group(apps, **size)], ON):
        assert Decimal(line["saves_estimate_usd"]) >= 0
        assert Decimal(line["saves_list_price_usd"]) >= 0
