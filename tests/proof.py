"""`make proof`: every slow campaign, one after the other; `make proof SAMPLE=1` a sample of each, in three minutes at most.

Prints what each campaign found and how long it took, runs all of them whatever fails, and exits with 1 if any failed.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of the tests that `make test` leaves out because they are slow, a commit runs the part that its id says.
SLOW_PARTS = 20
SIZED_TESTS = ("tests", "-m", "sized", "--timeout=7200", "-p", "no:cacheprovider")
EVERY_CASE = ("-n", "4", "tests", "-m", "not sized", "-p", "no:cacheprovider")
FIRST_SEED = 20261126


@dataclass(frozen=True)
class Campaign:
    """A command, with its arguments for the whole and for the sample. None: it belongs to only one of them."""

    name: str
    whole: tuple[str, ...] | None
    sample: tuple[str, ...] | None
    env: dict[str, str] = field(default_factory=dict)
    sample_env: dict[str, str] = field(default_factory=dict)


def name_part() -> str:
    """A part of the slow tests, by the commit that is checked out; the first part outside a checkout."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return f"{int(git.stdout or '0', 16) % SLOW_PARTS + 1}/{SLOW_PARTS}"


CAMPAIGNS = (
    Campaign(
        "random worlds",
        ("-m", "tests.simulation.seeds", "10000", str(FIRST_SEED)),
        ("-m", "tests.simulation.seeds", "150", str(FIRST_SEED + 24)),
    ),
    Campaign("matrix", ("-m", "tests.simulation.exhaustive"), ("-m", "tests.simulation.exhaustive", "300")),
    Campaign("every case of the tests", ("-m", "pytest", *EVERY_CASE), None),
    Campaign("slow tests", None, ("-m", "pytest", "-n", "4", "--slow-part", name_part(), "-p", "no:cacheprovider")),
    Campaign("tests at their full size", ("-m", "pytest", *SIZED_TESTS), None, env={"PROOF": "1"}),
    Campaign("kills", ("-m", "tests.kill", "500", "1"), ("-m", "tests.kill", "--sample", "10", "7")),
    Campaign("fuzz", ("-m", "tests.fuzz"), ("-m", "tests.fuzz"), sample_env={"EXAMPLES": "12", "REQUESTS": "400"}),
    Campaign("planted bugs", ("-m", "tests.mutants"), ("-m", "tests.mutants", "--sample", "4", "--seed", "1")),
)


def main(*, sample: bool) -> int:
    """Run all campaigns; the number of those that failed decides the exit code."""
    results = [run(each, sample=sample) for each in CAMPAIGNS if (each.sample if sample else each.whole)]
    _print("\n".join(["", *results]))
    return int(any("FAILED" in result for result in results))


def run(campaign: Campaign, *, sample: bool) -> str:
    """Run one campaign with its output as it comes; one line that says how it ended."""
    arguments = list((campaign.sample if sample else campaign.whole) or ())
    _print(f"proof: {campaign.name}: python {' '.join(arguments)}")
    started = time.monotonic()
    env = os.environ | (campaign.sample_env if sample else campaign.env)
    code = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, check=False).returncode
    return f"{'passed' if code == 0 else 'FAILED'} {campaign.name} ({time.monotonic() - started:.0f} s)"


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sample="--sample" in sys.argv[1:]))
