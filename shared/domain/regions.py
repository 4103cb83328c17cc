"""Where a machine may run: a list of regions in order of preference, such as `sin,nrt,apac`. Pure.

A word is one of Fly's regions or one of Fly's aliases (`eu`, `us`, `any`, …). data/fly_regions.json is the one owner of the
words; SQL has the same (`hangar.region_words`), and a test compares both. A list of one word pins the machine to it.
"""

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from importlib.resources import files

_SPACE = " \t\n\r\f\v"

__all__ = ["allows", "choose_region", "explain_refused_region", "list_words", "normalise_region", "split_preference"]


@lru_cache(maxsize=1)
def _read_words() -> dict[str, frozenset[str]]:
    """Every word with the regions that it stands for."""
    table = json.loads(files("shared.domain").joinpath("data/fly_regions.json").read_text())
    regions = {code: frozenset({code}) for code in table["regions"]}
    return regions | {alias: frozenset(members) for alias, members in table["aliases"].items()}


def list_words() -> tuple[str, ...]:
    """Every region and every alias, sorted."""
    return tuple(sorted(_read_words()))


def normalise_region(preference: str) -> str:
    """The list as it is stored: lower case, without space, each word once. SQL does the same; a test compares both."""
    words = [word.strip(_SPACE) for word in preference.lower().split(",")]
    return ",".join(dict.fromkeys(word for word in words if word))


def split_preference(preference: str) -> tuple[str, ...]:
    """The words of a list, the most wanted first."""
    return tuple(normalise_region(preference).split(","))


def explain_refused_region(preference: str) -> str | None:
    """Why this list is refused, with the words that are allowed. None if it is accepted. SQL has the same text."""
    words = split_preference(preference)
    unknown = next((word for word in words if word not in _read_words()), None)
    if unknown is None:
        return None
    return f"region '{unknown}' does not exist on Fly: use one or several of {', '.join(list_words())}, separated by commas"


def expand(word: str) -> frozenset[str]:
    """The regions that a word stands for; a word that is not known stands for itself."""
    return _read_words().get(word, frozenset({word}))


def allows(preference: str, region: str | None) -> bool:
    """Whether a machine in `region` is where this list wants it: then it is neither drift nor a reason to move it."""
    return any(region in expand(word) for word in split_preference(preference))


def choose_region(preference: str, remembered: Mapping[str, datetime], tried: Collection[str]) -> str | None:
    """The word to ask Fly for next; None when this attempt has asked enough.

    `remembered` are words that were full a while ago, with the end of that memory: they are skipped. `tried` were full in
    this attempt. If every word is remembered, one is asked all the same, the one whose memory ends first: otherwise a list
    that is full everywhere would not be asked for until the memory ends.
    """
    left = [word for word in split_preference(preference) if word not in tried]
    fresh = [word for word in left if word not in remembered]
    if fresh or tried or not left:
        return fresh[0] if fresh else None
    return min(left, key=lambda word: remembered[word])
