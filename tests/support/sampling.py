"""Which tests run in `make test`, so that it takes minutes: a few cases of each; `make proof` runs them all.

`pytest` alone runs everything. With `--sample`, a test runs at most two of its cases: the first and the last. Of a file's
tests that repeat on the system's older Postgres, every twelfth runs. Of the tests that are marked `slow` those run,
with their first case, without which a planted bug would stay unseen (tests/mutants), those that have a size of their own for
`make test` (marked `sized`), and the first of a file that has only slow ones, unless it is marked `proof`. Unit tests are cheap
and all run.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

CASES = 2  # of one test
FOR_EVERY = 12  # tests of a file that repeat on the system's Postgres, one does
WHOLE = "tests/unit/"


def sample(
    ids: Sequence[str],
    slow: Collection[str] = (),
    sized: Collection[str] = (),
    needed: Iterable[Sequence[str]] = (),
    proof: Collection[str] = (),
) -> set[str]:
    """Those of these test ids that run with `--sample`. The same ids always give the same answer.

    `slow`, `sized` and `proof` are the ids with these marks. Each of `needed` names tests of which one has to run, as files,
    tests or single cases; one that names no test of `ids` is passed over.
    """
    families: dict[str, list[str]] = defaultdict(list)
    repeats: dict[str, list[str]] = defaultdict(list)
    kept = {each for each in ids if each.startswith(WHOLE)}
    for each in ids:
        if each not in kept and each not in slow:
            test, _, case = each.partition("[")
            if case.startswith("system"):
                repeats[name_file(test)].append(each)
            else:
                families[test].append(each)
    for cases in families.values():
        kept.update(spread(cases, CASES))
    for tests in repeats.values():
        kept.update(tests[::FOR_EVERY])
    _add_slow(kept, [each for each in ids if each in slow and each not in proof], sized)
    _add_needed(kept, ids, needed)
    return kept


def _add_slow(kept: set[str], slow: Sequence[str], sized: Collection[str]) -> None:
    """Of each slow test with a size the first case, and the first slow test of each file of which nothing runs yet."""
    seen: set[str] = set()
    for each in slow:
        test = each.partition("[")[0]
        if each in sized and test not in seen:
            kept.add(each)
        seen.add(test)
    files = {name_file(each) for each in kept}
    for each in slow:
        if name_file(each) not in files:
            kept.add(each)
            files.add(name_file(each))


def _add_needed(kept: set[str], ids: Sequence[str], needed: Iterable[Sequence[str]]) -> None:
    by_name: dict[str, list[str]] = defaultdict(list)
    for each in ids:
        for name in {each, each.partition("[")[0], name_file(each)}:
            by_name[name].append(each)
    for names in needed:
        found = [each for name in names for each in by_name[name]]
        if found and not kept.intersection(found):
            kept.add(found[0])


def name_file(nodeid: str) -> str:
    """The file of a test, from its id."""
    return nodeid.partition("::")[0]


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
