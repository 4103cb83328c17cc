"""`make fuzz`: at least REQUESTS requests (20,000) to every function of a local cloud, from SEED (1) on.

Exit code 0 when every response was one that docs/security.md names, each kind of response was seen, and nothing changed;
otherwise 1, with the smallest example that showed it. About half of the requests have no proof of identity, a third have one and
make no sense, few may act. EXAMPLES (50) is how many examples of each kind are sent before the state is compared.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.run import find_breakage, open_target

# The statuses that a run must see; without them it did not reach what it tests.
EXPECTED = {"function": {200, 400, 401, 405, 415}, "dashboard": {200, 303, 403, 404, 405}}


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run, print the counts and report violations."""
    wanted, seed = int(os.environ.get("REQUESTS") or 20_000), int(os.environ.get("SEED") or 1)
    examples = int(os.environ.get("EXAMPLES") or 50)
    started, sent = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="hangar-fuzz-") as folder, open_target(Path(folder) / "cloud") as target:
        while sent < wanted:
            sent += sum(target.fuzz(function, examples, seed) for function in target.functions)
            seed += 1
            say(f"{sent:>7} requests in {time.monotonic() - started:.0f} s; next is SEED={seed}")
        broken = [f"{name}: {line}" for name in target.functions for line in find_breakage(target.read_logs(name))]
        say(f"{sent} requests to {', '.join(target.functions)}; responses by status:")
        say(target.oracle.table())
        broken += [
            f"{who}: no response with status {status} was seen"
            for who, statuses in EXPECTED.items()
            for status in sorted(statuses - {status for each, status in target.oracle.seen if each == who})
        ]
        say("\n".join(broken) or "Nothing broke, nothing changed, every response is a documented one.")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
