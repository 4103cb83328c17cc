"""Lists of regions: their form, what they allow, and which one is asked next."""

from datetime import UTC, date, datetime, timedelta

import pytest

from local.fly.api import regions as simulated
from shared.domain import regions
from shared.domain.cost import list_price_usd_per_s

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("preference", "region", "allowed"),
    [
        ("sin", "sin", True),
        ("sin", "nrt", False),
        ("sin,nrt", "nrt", True),
        (" SIN, Nrt", "nrt", True),
        ("eu", "ams", True),
        ("eu", "sin", False),
        ("sin,any", "gru", True),
        ("sin", None, False),
    ],
)
def test_a_machine_in_any_region_of_the_list_is_where_it_belongs(preference, region, allowed):
    assert regions.allows(preference, region) is allowed


def remember(*words):
    """Words that were full, the first of which is forgotten first."""
    return {word: NOW + timedelta(minutes=number) for number, word in enumerate(words)}


@pytest.mark.parametrize(
    ("remembered", "tried", "expected"),
    [
        ((), (), "sin"),
        (("sin",), (), "nrt"),
        (("sin",), ("nrt",), "hkg"),
        (("sin",), ("nrt", "hkg"), None),
        (("nrt", "sin", "hkg"), (), "nrt"),
        (("hkg", "sin", "nrt"), ("hkg",), None),
        ((), ("sin", "nrt", "hkg"), None),
        ((), ("sin",), "nrt"),
    ],
)
def test_the_next_region_is_the_first_that_is_not_known_to_be_full(remembered, tried, expected):
    """If all are remembered as full, one is asked all the same, and only one in each attempt."""
    assert regions.choose_region("sin,nrt,hkg", remember(*remembered), tried) == expected


def test_the_simulated_fly_has_the_same_words():
    """A word that Hangar accepts is one that Fly accepts."""
    assert set(regions.list_words()) == {*simulated.CODES, *simulated.ALIASES}
    assert {word: regions.expand(word) for word in simulated.ALIASES} == {
        word: frozenset(codes) for word, codes in simulated.ALIASES.items()
    }


def test_the_price_of_a_list_is_that_of_its_first_word_until_a_machine_runs():
    def price(region):
        return list_price_usd_per_s("shared", 2, 512, region, date(2026, 11, 22))

    assert price("sin,iad") == price("sin") > price("iad")
    assert price("eu") == price("fra") > price("ams")
    assert price("hkg") == price("nowhere") == price("gru")


def test_a_refused_list_is_told_the_words():
    assert regions.explain_refused_region("sin, eu ,any") is None
    assert "region 'yul' does not exist on Fly" in (regions.explain_refused_region("sin,YUL") or "")


def test_a_list_names_each_word_once_and_in_its_order():
    assert regions.normalise_region(" SIN, nrt,sin,, NRT ,hkg") == "sin,nrt,hkg"
