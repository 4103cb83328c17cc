"""Cold starts: the time from the start of a function's process to its first response, and to the first that did real work."""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from bench.cloud import ORG, WEBHOOK_SECRET, Cloud
from bench.sizes import Sizes
from local import process

ROOT = Path(__file__).resolve().parents[1]
_STATIC = "bench-static-secret-0123456789"
_NOBODY = "11111111-1111-4111-8111-111111111111"
_IMPORT = "import time; t = time.perf_counter(); import functions.{}.main; print(time.perf_counter() - t)"


def measure_starts(cloud: Cloud, sizes: Sizes) -> dict[str, Any]:
    """Medians in seconds. The processes run as deployed (functions-framework, gunicorn), with compiled bytecode."""
    environ, rounds = _settings(cloud), sizes.start_rounds
    bare = statistics.median(_time_command([sys.executable, "-c", "pass"], environ) for _ in range(rounds))
    return {"python_s": bare} | {name: _measure(name, environ, rounds) for name in sizes.start_functions}


def _measure(name: str, environ: dict[str, str], rounds: int) -> dict[str, float]:
    command = [sys.executable, "-c", _IMPORT.format(name)]
    imports = [float(subprocess.check_output(command, env=environ, cwd=ROOT)) for _ in range(rounds)]
    answers = [_start(name, environ) for _ in range(rounds)]
    return {
        "import_s": statistics.median(imports),
        "first_answer_s": statistics.median(first for first, _ in answers),
        "first_work_s": statistics.median(work for _, work in answers),
    }


def _start(name: str, environ: dict[str, str]) -> tuple[float, float]:
    """Seconds from the start to the first response (401), and to the first that used the database (200)."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    words = ["-m", "functions_framework", "--target", name, "--host", "127.0.0.1", "--port", str(port)]
    started = time.perf_counter()
    child = process.spawn([sys.executable, *words], env=environ, cwd=ROOT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            _await_answer(client, started)
            first = time.perf_counter() - started
            body = {"drain_only": True} if name == "health" else {"user_id": _NOBODY}
            answer = client.post("/", json=body, headers={"X-Hangar-Secret": _STATIC})
            if answer.status_code != 200:
                raise RuntimeError(f"{name} answered {answer.status_code}: {answer.text[:200]}")
            return first, time.perf_counter() - started
    finally:
        process.stop(child)


def _await_answer(client: httpx.Client, started: float) -> None:
    while time.perf_counter() - started < 60:
        try:
            client.post("/", json={})
        except httpx.TransportError:
            time.sleep(0.005)
        else:
            return
    raise RuntimeError("the function never answered")


def _time_command(command: list[str], environ: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environ, cwd=ROOT, check=True)
    return time.perf_counter() - started


def _settings(cloud: Cloud) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return inherited | {
        "SUPABASE_URL": cloud.supabase_url,
        "SUPABASE_SECRET_KEY": cloud.keys.secret_key,
        "SUPABASE_PUBLISHABLE_KEY": cloud.keys.publishable_key,
        "FLY_API_TOKEN": "FlyV1 fm2_bench",
        "FLY_API_URL": cloud.fly_url,
        "FLY_ORG_SLUG": ORG,
        "HANGAR_INSTALLATION_ID": str(cloud.installation_id),
        "HANGAR_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "HANGAR_STATIC_SECRET": _STATIC,
        "HANGAR_USER_TOKEN_KEY": cloud.keys.signing_key_pem,
        "HANGAR_MACHINE_ENV": json.dumps({}),
    }
