"""Find the system's Chromium for the tests of the dashboard, or install it.

`python -m tests.browser.chromium` installs it with apt-get if it runs as root on Debian or a derivative. Elsewhere it prints how
to install it, and the tests are skipped with the same reason.
"""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# These switch off the requests that Chromium itself makes at start. As root it runs only without its sandbox.
ARGUMENTS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    *(("--no-sandbox",) if os.geteuid() == 0 else ()),
)
HOW = f"no Chromium here: install one ({', '.join(NAMES)} on PATH), or name it in CHROMIUM"


def find_chromium() -> str | None:
    """The browser to use: the one in CHROMIUM, else the first of `NAMES` on PATH."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def install_chromium() -> None:
    """Install Chromium if it is missing and this process has the rights. Prints to standard error what it does, or why not."""
    if find_chromium():
        return
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        print(f"hangar: {HOW}; the browser tests are skipped", file=sys.stderr)  # noqa: T201  this is a command
        return
    print("hangar: installing chromium for the browser tests (once)", file=sys.stderr)  # noqa: T201  as above
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ((apt, "update", "-q"), (apt, "install", "-q", "-y", "--no-install-recommends", "chromium")):
        done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
        if done.returncode:
            print(f"{done.stdout}{done.stderr}\nhangar: {' '.join(command)} failed: {HOW}", file=sys.stderr)  # noqa: T201
            return


if __name__ == "__main__":
    install_chromium()
