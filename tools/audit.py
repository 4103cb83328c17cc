"""`make audit`: asks the public advisory service about every locked dependency, where the network allows it.

pip-audit is fetched for the run and is no dependency of ours. It reports "nothing found" also for what it could not ask
about, so its report is read here. Exit code 0: all asked about, nothing known · 1: something is known · 3: could not be asked.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXIT_KNOWN, EXIT_NOT_ASKED = 1, 3
TIMEOUT_S = 300


def main() -> int:
    """Run pip-audit over requirements.lock and say what it found."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        uv = Path(sys.executable).parent / "uv"
        command = f"{uv} tool run pip-audit --disable-pip --require-hashes -r requirements.lock -f json -o {report}"
        try:
            done = subprocess.run(
                command.split(), cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return _say(f"could not ask: {type(error).__name__} of {uv}", EXIT_NOT_ASKED)
        if not report.exists():
            said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            return _say(f"could not ask: pip-audit gave no report ({said[:200]})", EXIT_NOT_ASKED)
        return judge(json.loads(report.read_text())["dependencies"])


def judge(dependencies: list[dict[str, Any]]) -> int:
    """Print what is known of these dependencies of a report, then what could not be asked; the exit code."""
    skipped = [each["name"] for each in dependencies if "skip_reason" in each]
    known = [(each, advisory) for each in dependencies for advisory in each.get("vulns", [])]
    for each, advisory in known:
        fixed = ", ".join(advisory.get("fix_versions") or ["no version yet"])
        _say(f"{each['name']} {each['version']}: {advisory['id']}, fixed in {fixed}", 0)
    asked = len(dependencies) - len(skipped)
    if skipped:
        _say(f"could not ask about {len(skipped)} of {len(dependencies)}: {', '.join(skipped[:5])} …", 0)
    if known:
        return _say(f"{len(known)} advisories for {asked} dependencies", EXIT_KNOWN)
    if skipped or not dependencies:
        return _say(
            "the advisory service does not know or did not answer for these, which proves nothing", EXIT_NOT_ASKED
        )
    return _say(f"no advisory for any of {asked} dependencies", 0)


def _say(text: str, code: int) -> int:
    print(f"audit: {text}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
