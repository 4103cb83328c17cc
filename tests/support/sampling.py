"""Which tests run in `make test`, so that it takes minutes: a few cases of each; `make proof` runs them all.

`pytest` alone runs everything. With `--sample`, a test runs at most five of its cases: the first, the last and those evenly
between. Of a file's tests that repeat on the system's older Postgres, every fourth runs. Of a file's tests that are marked
`slow`, the first case of the first runs. Unit tests are cheap and all run.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

CASES = 5  # of one test
FOR_EVERY = 4  # tests of a file that repeat on the system's Postgres, one does
WHOLE = "tests/unit/"


def sample(ids: Sequence[str], slow: Collection[str] = ()) -> set[str]:
    """Those of these test ids that run with `--sample`; `slow` are the slow ones. The same ids always give the same answer."""
    families: dict[str, list[str]] = defaultdict(list)
    repeats: dict[str, list[str]] = defaultdict(list)
    first_slow: dict[str, str] = {}
    kept = {each for each in ids if each.startswith(WHOLE)}
    for each in ids:
        if each not in kept:
            test, _, case = each.partition("[")
            file = test.partition("::")[0]
            if each in slow:
                first_slow.setdefault(file, each)
            elif case.startswith("system"):
                repeats[file].append(each)
            else:
                families[test].append(each)
    kept.update(first_slow.values())
    for cases in families.values():
        kept.update(spread(cases, CASES))
    for tests in repeats.values():
        kept.update(tests[::FOR_EVERY])
    return kept


def choose_part(ids: Sequence[str], part: str) -> set[str]:
    """The ids of one part, for example "2/8": the second of eight, which together are all. Raises ValueError."""
    number, _, parts = part.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise ValueError(f"a part is a number and how many there are, such as 2/8, not {part}")
    return set(ids[int(number) - 1 :: int(parts)])


def spread(cases: Sequence[str], count: int) -> list[str]:
    """At most so many of these, evenly spread, with the first and the last."""
    if len(cases) <= count:
        return list(cases)
    return [cases[round(number * (len(cases) - 1) / (count - 1))] for number in range(count)]
