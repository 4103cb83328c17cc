"""`make audit`: checks every locked dependency for known vulnerabilities at the public advisory service.

pip-audit is fetched for the run and is not one of our dependencies. It also reports "nothing found" for dependencies that it
could not check, so this module reads its report. Exit codes: 0 all checked, nothing known · 1 a vulnerability is known ·
3 at least one dependency could not be checked.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXIT_KNOWN, EXIT_NOT_CHECKED = 1, 3
TIMEOUT_S = 300


def main() -> int:
    """Run pip-audit over requirements.lock and print what it found."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        uv = Path(sys.executable).parent / "uv"
        command = f"{uv} tool run pip-audit --disable-pip --require-hashes -r requirements.lock -f json -o {report}"
        try:
            done = subprocess.run(
                command.split(), cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return _print(f"not checked: {type(error).__name__} of {uv}", EXIT_NOT_CHECKED)
        if not report.exists():
            last_line = (done.stderr.strip() or "no output").splitlines()[-1]
            return _print(f"not checked: pip-audit wrote no report ({last_line[:200]})", EXIT_NOT_CHECKED)
        return report_vulnerabilities(json.loads(report.read_text())["dependencies"])


def report_vulnerabilities(dependencies: list[dict[str, Any]]) -> int:
    """Print the known vulnerabilities of a report's dependencies, then those not checked. Returns the exit code."""
    skipped = [each["name"] for each in dependencies if "skip_reason" in each]
    known = [(each, advisory) for each in dependencies for advisory in each.get("vulns", [])]
    for each, advisory in known:
        fixed = ", ".join(advisory.get("fix_versions") or ["no version yet"])
        _print(f"{each['name']} {each['version']}: {advisory['id']}, fixed in {fixed}", 0)
    checked = len(dependencies) - len(skipped)
    if skipped:
        _print(f"not checked: {len(skipped)} of {len(dependencies)}: {', '.join(skipped[:5])} …", 0)
    if known:
        return _print(f"{len(known)} advisories for {checked} dependencies", EXIT_KNOWN)
    if skipped or not dependencies:
        return _print("the advisory service gave no answer for these, so they may be vulnerable", EXIT_NOT_CHECKED)
    return _print(f"no advisory for any of {checked} dependencies", 0)


def _print(text: str, code: int) -> int:
    print(f"audit: {text}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
