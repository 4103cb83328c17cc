"""`make fuzz`: at least REQUESTS requests (20,000) to every function of a local cloud, from SEED (1) on.

Exit code 0 when every answer was one that docs/security.md knows and nothing changed; otherwise the smallest example that
showed it, and 1. About half of the requests have no proof, a third prove themselves and mean nothing, few may act.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.run import find_breakage, open_target

EXAMPLES = 50


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run, print the counts, say what broke."""
    wanted, seed = int(os.environ.get("REQUESTS") or 20_000), int(os.environ.get("SEED") or 1)
    started, sent = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="hangar-fuzz-") as folder, open_target(Path(folder) / "cloud") as target:
        while sent < wanted:
            sent += sum(target.fuzz(function, EXAMPLES, seed) for function in target.functions)
            seed += 1
            say(f"{sent:>7} requests in {time.monotonic() - started:.0f} s; next is SEED={seed}")
        broken = [f"{name}: {line}" for name in target.functions for line in find_breakage(target.read_logs(name))]
        say(f"{sent} requests to {', '.join(target.functions)}; who answered, and what, how often:")
        say(target.oracle.table())
        say("\n".join(broken) or "Nothing broke, nothing changed, no answer but the documented ones.")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
