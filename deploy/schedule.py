"""Calls the health function as pg_cron does: what is due each minute, a sweep every five minutes. Standard library only."""

import json
import os
import sys
import time
import urllib.error
import urllib.request

URL = os.environ.get("HANGAR_HEALTH_URL", "http://health:8080/")
TIMEOUT_S = 330
SWEEP_EVERY = 5


def call(body: dict[str, bool]) -> str:
    """Call the function and wait for its answer. Returns what happened, on one line."""
    headers = {"Content-Type": "application/json", "X-Hangar-Secret": os.environ["HANGAR_STATIC_SECRET"]}
    request = urllib.request.Request(URL, json.dumps(body).encode(), headers, method="POST")  # noqa: S310  http, inside
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310  as above
            return f"answered {response.status}"
    except urllib.error.HTTPError as error:
        return f"answered {error.code}"
    except OSError as error:
        return f"no answer ({error.__class__.__name__})"


def main() -> None:
    """Run until the container is stopped."""
    minute = 0
    while True:
        started = time.monotonic()
        is_sweep = minute % SWEEP_EVERY == 0
        said = call({} if is_sweep else {"drain_only": True})
        sys.stdout.write(f"{'sweep' if is_sweep else 'drain'}: {said}\n")
        sys.stdout.flush()
        minute += 1
        time.sleep(max(0.0, 60 - (time.monotonic() - started)))


if __name__ == "__main__":
    main()
