"""Plants one bug after another in a copy of the tree and runs its tests: `python -m tests.mutants [NAME ...]`. docs/mutants.md.

Exit code 0: the tests caught all; 1: one survived, is stale or was not judged; 2: a name is unknown.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.catalog import AREAS, BUGS
from tests.mutants.judge import (
    Verdict,
    copy_tree,
    find_sampled,
    find_unsound,
    judge_all,
    narrow,
    run_seeds,
    strip_parameters,
    summarise_seeds,
)
from tests.mutants.planted import ROOT, PlantedBug

AT_ONCE = 2


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments ask for; returns the exit code."""
    options = _read_arguments(arguments)
    if unknown := set(options.names) - {bug.name for bug in BUGS}:
        return _say(f"there is no planted bug named {', '.join(sorted(unknown))}; see --list", 2)
    chosen = [bug for bug in BUGS if not options.names or bug.name in options.names]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))  # noqa: S311  no secret
    if options.list:
        return _list(chosen)
    if options.check:
        return _check(chosen)
    if options.as_make_test:
        ids = find_sampled()
        chosen = [narrow(bug, ids) for bug in chosen]
    return _judge(chosen, options.seeds, options.at_once)


def _read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description="Plant bugs; the tests must catch each."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these bugs (default: all)")
    parser.add_argument("--list", action="store_true", help="list the bugs and what each breaks")
    parser.add_argument("--check", action="store_true", help="only check that every entry fits the code; run no test")
    parser.add_argument("--sample", type=int, metavar="N", help="only N bugs, chosen by chance")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="another seed chooses another sample")
    parser.add_argument(
        "--seeds", type=int, default=0, metavar="N", help="also run up to N random worlds with each bug"
    )
    parser.add_argument(
        "--as-make-test", action="store_true", help="ask only the tests, and of each the cases, that `make test` runs"
    )
    parser.add_argument("--at-once", type=int, default=AT_ONCE, metavar="N", help="bugs judged at the same time")
    return parser.parse_args(arguments)


def _list(bugs: Sequence[PlantedBug]) -> int:
    for area, members in AREAS.items():
        shown = [bug for bug in members if bug in bugs]
        if shown:
            _say(f"{area} ({len(shown)})")
        for bug in shown:
            _say(f"  {bug.name}: {bug.breaks}")
    return 0


def _check(bugs: Sequence[PlantedBug], root: Path = ROOT) -> int:
    problems = {bug.name: problem for bug in bugs if (problem := bug.find_problem(root))}
    for name, problem in problems.items():
        _say(f"STALE      {name}: {problem}")
    return _say(f"{len(bugs) - len(problems)} of {len(bugs)} planted bugs fit the code", int(bool(problems)))


def _judge(chosen: Sequence[PlantedBug], seeds: int, at_once: int) -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hangar-mutants-") as folder:
        trees = [copy_tree(Path(folder) / str(number)) for number in range(max(1, min(at_once, len(chosen))))]
        verdicts = judge_all(trees, chosen, seeds, lambda bug, verdict: _say(verdict.describe(bug)))
        unsound = find_unsound(trees[0], verdicts)
        if seeds:
            _say(_describe_seeds(trees[0], verdicts))
    for bug, verdict in zip(chosen, verdicts, strict=True):
        if verdict.by and strip_parameters(verdict.by) in unsound:
            _say(f"NOT JUDGED {bug.name}: {strip_parameters(verdict.by)} fails without any bug")
    caught = sum(verdict.by is not None and strip_parameters(verdict.by) not in unsound for verdict in verdicts)
    spent_s = time.monotonic() - started
    return _say(f"{caught} of {len(chosen)} planted bugs caught in {spent_s:.0f} s", int(caught < len(chosen)))


def _describe_seeds(tree: Path, verdicts: Sequence[Verdict]) -> str:
    latest = max((verdict.seeds for verdict in verdicts if verdict.by_seed), default=0)
    if latest and run_seeds(tree, latest).by_seed:
        return "the seeds prove nothing: one of them breaks a promise without any bug"
    return summarise_seeds(verdicts)


def _say(text: str, code: int = 0) -> int:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
