"""`python -m bench`: a sweep and a release over 10,000 apps, tier changes, cold starts, the dashboard over 100,000 apps.

Postgres, the gateway and the Fly simulator are real processes on this machine, and the worker is wired as in production.
The figures also go to bench/results as JSON. A full run takes about five minutes on 2 cores, `--quick` under 90 seconds.
A scenario that does not complete ends the run with an error. No duration is asserted.
"""

import argparse
import json
import logging
import os
import platform
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.cloud import run_cloud
from bench.dashboard import format_dashboard, measure_dashboard
from bench.releases import format_releases, measure_releases
from bench.sizes import FULL, QUICK
from bench.starts import measure_starts
from bench.statements import format_statements, measure_statements
from bench.sweeps import build_fleet, measure_sweeps
from bench.tiers import measure_tiers

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run every scenario, print its figures and write them to a file."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: only checks that the benchmark runs")
    sizes = QUICK if parser.parse_args().quick else FULL
    logging.disable(logging.WARNING)
    started = time.perf_counter()
    with run_cloud() as cloud:
        print(f"building {sizes.fleet:,} active apps …", flush=True)
        build_fleet(cloud, sizes.fleet)
        result: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "sizes": asdict(sizes),
            "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}",
        }
        result["sweeps"] = measure_sweeps(cloud, sizes)
        print("\n".join(format_sweeps(result["sweeps"])), flush=True)
        result["releases"] = measure_releases(cloud, sizes)
        print("\n".join(format_releases(result["releases"])), flush=True)
        result["statements"] = measure_statements(cloud, sizes)
        print("\n".join(format_statements(result["statements"])), flush=True)
        result["tiers"] = measure_tiers(cloud, sizes)
        print("\n".join(format_tiers(result["tiers"])), flush=True)
        result["starts"] = measure_starts(cloud, sizes)
        print("\n".join(format_starts(result["starts"])), flush=True)
    result["dashboard"] = measure_dashboard(sizes)
    print("\n".join(format_dashboard(result["dashboard"])), flush=True)
    result["seconds"] = round(time.perf_counter() - started, 1)
    print(f"\n{result['machine']}; the whole run took {result['seconds']:.0f} s")
    keep(result)


def format_sweeps(found: dict[str, Any]) -> list[str]:
    """One sweep over the fleet, compared with the plain loop."""
    plain, slow = found["plain_s"], found["plain_with_latency_s"]
    lines = [
        "",
        f"{found['fleet']:,} active apps, one sweep",
        f"  {'':<38} {'org lists':>9} {'app lists':>9} {'health':>7} {'results in':>13} {'':>8} {'plain loop':>10}",
        f"  {'':<38} {'(<= 11)':>9} {'(<= 3)':>9} {'probes':>7} {'statements':>13} {'seconds':>8} {'/ sweep':>10}",
    ]
    for key, name, beside in (
        ("first", "right after provisioning, probes all", plain),
        ("rest", "at rest", plain),
        ("rest_with_latency", "at rest, with Fly's latency", slow),
    ):
        one = found[key]
        results = f"{one['health_results']:,} in {one['health_statements']}"
        lines.append(
            f"  {name:<38} {one['org_lists']:>9} {one['app_lists']:>9} {one['probes']:>7,}"
            f" {results:>13} {one['seconds']:>8.1f} {beside / one['seconds']:>8.1f} x"
        )
    lines.append(
        f"  plain loop (one GET, two writes an app): {plain:,.0f} s, scaled from {found['plain_sample']:,} apps;"
        f" with latency {slow:,.0f} s, scaled from {found['plain_with_latency_sample']}"
    )
    return lines


def format_tiers(found: dict[str, Any]) -> list[str]:
    """How soon every app follows a change of many users in one statement."""
    return [
        "",
        f"{found['users']:,} users in one statement",
        (
            f"  all active after {found['until_all_active_s']:.1f} s: {found['machines']:,} machines,"
            f" {found['users_with_two']} users with two"
        ),
        (
            f"  all gone after {found['until_all_gone_s']:.1f} s, with brake_floor {found['brake_floor']:,} and no removal hold;"
            " without any limit on app deletions a minute (Fly's own is 100)"
        ),
    ]


def format_starts(found: dict[str, Any]) -> list[str]:
    """Cold starts, compared with the start of Python alone."""
    bare = found["python_s"]
    lines = [
        "",
        f"cold start, medians (python alone: {bare * 1000:.0f} ms)",
        f"  {'':<12} {'import':>9} {'first answer':>13} {'first work':>11} {'first answer / python':>22}",
    ]
    for name, one in found.items():
        if isinstance(one, dict):
            lines.append(
                f"  {name:<12} {one['import_s'] * 1000:>6.0f} ms {one['first_answer_s'] * 1000:>10.0f} ms"
                f" {one['first_work_s'] * 1000:>8.0f} ms {one['first_answer_s'] / bare:>20.1f} x"
            )
    return lines


def keep(result: dict[str, Any]) -> None:
    """Write the figures to a file. The folder's own .gitignore keeps it out of the repository."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / ".gitignore").write_text("*\n")
    path = RESULTS / f"{result['at'].replace(':', '')}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
