"""Judges planted bugs: plants each in a copy of the tree, runs its tests and random worlds, and restores the tree."""

import os
import queue
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from tests.mutants.places import Stale
from tests.mutants.planted import ROOT, PlantedBug, find_test_problem
from tests.support.sampling import name_file

LONGEST_RUN_S = 300
SEEDS_WITHIN_S = 120
_COPIED = ("bench", "deploy", "docs", "examples", "functions", "local", "ops", "shared", "supabase", "tests", "tools")
_SEEDS = re.compile(r"^(caught|not) (\d+)$", re.MULTILINE)
_FAILED = re.compile(r"^FAILED (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What the tests found of one bug. `by` is the test that caught it; `trouble` says why there is no verdict.

    `seeds` random worlds were run, and the last of them caught the bug if `by_seed`; 0 if none were asked for.
    """

    seconds: float
    by: str | None = None
    trouble: str | None = None
    seeds: int = 0
    by_seed: bool = False

    def describe(self, bug: PlantedBug) -> str:
        """The verdict as one line."""
        seeds = f"; by seed {self.seeds}" if self.by_seed else f"; not by {self.seeds} seeds" if self.seeds else ""
        return self._describe_tests(bug) + seeds

    def _describe_tests(self, bug: PlantedBug) -> str:
        if self.trouble:
            return f"NOT JUDGED {bug.name}: {self.trouble}"
        if self.by is None:
            return f"SURVIVED   {bug.name} ({self.seconds:.1f} s): no test guards: {bug.breaks}"
        return f"caught     {bug.name} ({self.seconds:.1f} s) by {self.by}"


def copy_tree(to: Path) -> Path:
    """A copy of the code as it is in the checkout, without compiled files and measurements."""
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, to / path.name)
    return to


def find_sampled() -> list[str]:
    """The ids of the tests that `make test` runs on the default Postgres. RuntimeError if they cannot be collected."""
    run = run_pytest(ROOT, ["--collect-only", "--sample", "tests"])
    if run.returncode:
        raise RuntimeError(f"the tests cannot be collected: {(run.stdout + run.stderr)[-600:]}")
    return [line for line in run.stdout.splitlines() if "::" in line]


def narrow(bug: PlantedBug, ids: Sequence[str]) -> PlantedBug:
    """The same bug, with those of these test ids that its entry names."""
    found = [each for test in bug.tests for each in ids if test in (each, strip_parameters(each), name_file(each))]
    return replace(bug, tests=tuple(dict.fromkeys(found)))


def judge_all(
    trees: Sequence[Path], bugs: Sequence[PlantedBug], seeds: int, report: Callable[[PlantedBug, Verdict], object]
) -> list[Verdict]:
    """The verdict on each bug, one bug at a time in each tree. `report` gets each verdict as it comes."""
    free: queue.Queue[Path] = queue.Queue()
    for tree in trees:
        free.put(tree)

    def judge_one(bug: PlantedBug) -> Verdict:
        tree = free.get()
        try:
            verdict = judge(tree, bug, seeds)
        finally:
            free.put(tree)
        report(bug, verdict)
        return verdict

    with ThreadPoolExecutor(len(trees)) as pool:
        return list(pool.map(judge_one, bugs))


def judge(tree: Path, bug: PlantedBug, seeds: int = 0) -> Verdict:
    """Plant the bug in `tree`, run its tests and, if it is in the core, up to so many seeds; then restore the tree."""
    problems = [problem for test in bug.tests if (problem := find_test_problem(tree, test))]
    if not bug.tests:
        problems = ["none of its tests runs"]
    if problems:
        return Verdict(0, trouble="; ".join(problems))
    try:
        file, text = bug.plant(tree)
    except Stale as stale:
        return Verdict(0, trouble=f"{stale}; bring the entry up to date")
    try:
        verdict = run_tests(tree, bug.tests)
        if not (seeds and bug.is_in_the_core):
            return verdict
        worlds = run_seeds(tree, seeds)
        return replace(verdict, seeds=worlds.seeds, by_seed=worlds.by_seed)
    finally:
        file.write_text(text)


def run_tests(tree: Path, tests: Sequence[str]) -> Verdict:
    """Run these tests in `tree` until one fails. Only a failing test counts: code that cannot be loaded is no verdict."""
    started = time.monotonic()
    try:
        run = run_pytest(tree, ["-x", *tests])
    except subprocess.TimeoutExpired:
        return Verdict(LONGEST_RUN_S, trouble=f"the tests took more than {LONGEST_RUN_S} s")
    seconds = time.monotonic() - started
    if run.returncode == 0:
        return Verdict(seconds)
    if failed := _FAILED.search(run.stdout):
        return Verdict(seconds, by=failed[1])
    return Verdict(seconds, trouble=f"pytest ended with {run.returncode}: {(run.stdout + run.stderr)[-600:]}")


def run_seeds(tree: Path, most: int) -> Verdict:
    """Run random worlds in `tree` until one breaks a promise. Worlds that cannot begin catch nothing."""
    command = [sys.executable, "-m", "tests.mutants.seeds", str(most), str(SEEDS_WITHIN_S)]
    try:
        run = subprocess.run(
            command, cwd=tree, env=_make_env(tree), capture_output=True, text=True, timeout=LONGEST_RUN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Verdict(LONGEST_RUN_S)
    found = _SEEDS.search(run.stdout)
    return Verdict(0, seeds=int(found[2]), by_seed=found[1] == "caught") if found else Verdict(0)


def find_unsound(tree: Path, verdicts: Sequence[Verdict]) -> set[str]:
    """Which of the tests that caught a bug also fail in `tree` without one. They caught nothing."""
    asked = sorted({strip_parameters(verdict.by) for verdict in verdicts if verdict.by})
    if not asked:
        return set()
    try:
        run = run_pytest(tree, asked, timeout_s=LONGEST_RUN_S + 10 * len(asked))
    except subprocess.TimeoutExpired:
        return set(asked)
    if run.returncode in (0, 1):
        return {strip_parameters(test) for test in _FAILED.findall(run.stdout)}
    return set(asked)


def summarise_seeds(verdicts: Sequence[Verdict]) -> str:
    """How many bugs the random worlds caught, and after how many seeds."""
    asked = [verdict for verdict in verdicts if verdict.seeds]
    took = sorted(verdict.seeds for verdict in asked if verdict.by_seed)
    if not took:
        return f"seeds caught none of {len(asked)}"
    return f"seeds caught {len(took)} of {len(asked)}: after {median(took):g} in the median, {took[-1]} at most"


def run_pytest(
    tree: Path, arguments: Sequence[str], timeout_s: float = LONGEST_RUN_S
) -> subprocess.CompletedProcess[str]:
    """On the default Postgres only: a second version would find the same bugs in twice the time."""
    command = [sys.executable, "-m", "pytest", "-rfE", "--tb=no", "-p", "no:cacheprovider", "--timeout=60"]
    return subprocess.run(
        [*command, "-k", "not (system and postgres)", *arguments],
        cwd=tree,
        env=_make_env(tree),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _make_env(tree: Path) -> dict[str, str]:
    # Compiled files would survive a change of the same length within one second.
    return os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree)}


def strip_parameters(test: str) -> str:
    """The node id of a test without its parameters, whose names may hold anything."""
    return test.split("[", maxsplit=1)[0]
