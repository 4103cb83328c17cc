"""Plants one bug after another and asks the tests: `python -m tests.mutants [--seeds N] [NAME ...]`. docs/mutants.md.

Every bug is planted in a copy of the tree in a temporary folder. With `--seeds` up to N random small worlds are played with each
bug of the core as well. Exit code 0: all caught by the tests; 1: one survived, could not be planted, or was not judged; 2: a
name is unknown.
"""

import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from tests.mutants.catalog import MUTANTS
from tests.mutants.mutant import ROOT, Mutant

AT_ONCE = 2
LONGEST_RUN_S = 300
SEEDS_WITHIN_S = 120
_COPIED = ("bench", "deploy", "docs", "functions", "local", "ops", "shared", "supabase", "tests")
_SEEDS = re.compile(r"^(caught|not) (\d+)$", re.MULTILINE)
_FAILED = re.compile(r"^FAILED (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What the tests made of one bug. `by` is the test that caught it; `trouble` is why there is no verdict.

    `seeds` random worlds were played, and the last of them caught it if `by_seed`; 0 where none were asked.
    """

    seconds: float
    by: str | None = None
    trouble: str | None = None
    seeds: int = 0
    by_seed: bool = False

    def describe(self, mutant: Mutant) -> str:
        seeds = f"; by seed {self.seeds}" if self.by_seed else f"; not by {self.seeds} seeds" if self.seeds else ""
        return self._describe_tests(mutant) + seeds

    def _describe_tests(self, mutant: Mutant) -> str:
        if self.trouble:
            return f"NOT JUDGED {mutant.name}: {self.trouble}"
        if self.by is None:
            return f"SURVIVED   {mutant.name} ({self.seconds:.1f} s): nothing guards: {mutant.breaks}"
        return f"caught     {mutant.name} ({self.seconds:.1f} s) by {self.by}"


def main(arguments: list[str]) -> int:
    """Judge the named bugs, or all; returns the exit code."""
    most, names = (int(arguments[1]), arguments[2:]) if arguments[:1] == ["--seeds"] else (0, arguments)
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    if unknown := set(names) - {mutant.name for mutant in MUTANTS}:
        return _say(f"there is no mutant {', '.join(sorted(unknown))}; there are:\n  " + "\n  ".join(_list_names()), 2)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hangar-mutants-") as folder:
        trees = [copy_tree(Path(folder) / str(number)) for number in range(min(AT_ONCE, len(chosen)))]
        verdicts = judge_all(trees, chosen, most)
        latest = max((verdict.seeds for verdict in verdicts if verdict.by_seed), default=0)
        sound = not latest or not play_seeds(trees[0], latest).by_seed
        unsound = find_unsound(trees[0], verdicts)
    for mutant, verdict in zip(chosen, verdicts, strict=True):
        if verdict.by and _function(verdict.by) in unsound:
            _say(f"NOT JUDGED {mutant.name}: {_function(verdict.by)} fails without any bug")
    caught = sum(verdict.by is not None and _function(verdict.by) not in unsound for verdict in verdicts)
    spent = time.monotonic() - started
    if most:
        _say(
            summarise_seeds(verdicts)
            if sound
            else "the seeds prove nothing: one of them breaks a promise without any bug"
        )
    return _say(f"{caught} of {len(chosen)} planted bugs caught in {spent:.0f} s", int(caught < len(chosen)))


def copy_tree(to: Path) -> Path:
    """A copy of the code as it stands in the checkout, without what was compiled or measured."""
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, to / path.name)
    return to


def summarise_seeds(verdicts: list[Verdict]) -> str:
    """How many bugs the random worlds caught, and after how many seeds."""
    asked = [verdict for verdict in verdicts if verdict.seeds]
    took = sorted(verdict.seeds for verdict in asked if verdict.by_seed)
    if not took:
        return f"seeds caught none of {len(asked)}"
    return f"seeds caught {len(took)} of {len(asked)}: after {median(took):g} in the median, {took[-1]} at most"


def judge_all(trees: list[Path], mutants: list[Mutant], seeds: int = 0) -> list[Verdict]:
    """One bug at a time in each tree."""
    free: queue.Queue[Path] = queue.Queue()
    for tree in trees:
        free.put(tree)

    def judge_one(mutant: Mutant) -> Verdict:
        tree = free.get()
        try:
            verdict = judge(tree, mutant, seeds)
        finally:
            free.put(tree)
        _say(verdict.describe(mutant))
        return verdict

    with ThreadPoolExecutor(len(trees)) as pool:
        return list(pool.map(judge_one, mutants))


def judge(tree: Path, mutant: Mutant, seeds: int = 0) -> Verdict:
    """Plant the bug in `tree`, ask its tests and, if it is one of the core, so many seeds; take it out again."""
    if not mutant.is_current(tree):
        return Verdict(0, trouble=f"{mutant.file} does not hold its old text exactly once; bring the list up to date")
    sound = mutant.plant(tree)
    try:
        verdict = ask_tests(tree, mutant.tests)
        if not (seeds and mutant.is_in_the_core):
            return verdict
        played = play_seeds(tree, seeds)
        return replace(verdict, seeds=played.seeds, by_seed=played.by_seed)
    finally:
        (tree / mutant.file).write_text(sound)


def ask_tests(tree: Path, tests: tuple[str, ...]) -> Verdict:
    """Run these tests in `tree` until one fails. Only a failing test counts: what cannot be imported was not planted well."""
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


def play_seeds(tree: Path, most: int) -> Verdict:
    """Play random worlds in `tree` until one breaks a promise. What cannot even begin is caught by none."""
    command = [sys.executable, "-m", "tests.mutants.seeds", str(most), str(SEEDS_WITHIN_S)]
    try:
        run = subprocess.run(
            command, cwd=tree, env=_env(tree), capture_output=True, text=True, timeout=LONGEST_RUN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Verdict(LONGEST_RUN_S)
    said = _SEEDS.search(run.stdout)
    return Verdict(0, seeds=int(said[2]), by_seed=said[1] == "caught") if said else Verdict(0)


def find_unsound(tree: Path, verdicts: list[Verdict]) -> set[str]:
    """Which of the tests that caught something fail in `tree` as it is, without a bug: they caught nothing."""
    asked = sorted({_function(verdict.by) for verdict in verdicts if verdict.by})
    if not asked:
        return set()
    run = run_pytest(tree, asked)
    if run.returncode in (0, 1):
        return {_function(test) for test in _FAILED.findall(run.stdout)}
    return set(asked)


def run_pytest(tree: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """On the default Postgres only: a second version would find the same bugs in twice the time."""
    command = [sys.executable, "-m", "pytest", "-rfE", "--tb=no", "-p", "no:cacheprovider", "--timeout=60"]
    return subprocess.run(
        [*command, "-k", "not (system and postgres)", *arguments],
        cwd=tree,
        env=_env(tree),
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN_S,
        check=False,
    )


def _env(tree: Path) -> dict[str, str]:
    # Compiled files would survive a change of the same length within one second.
    return os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree)}


def _function(test: str) -> str:
    """A test without its parameters, whose names may hold anything."""
    return test.split("[", maxsplit=1)[0]


def _list_names() -> list[str]:
    return [mutant.name for mutant in MUTANTS]


def _say(text: str, code: int = 0) -> int:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
