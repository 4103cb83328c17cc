"""Installs exactly what requirements.lock names into `.venv`. Standard library only, because nothing is installed yet.

Safe to run twice at once (a file lock) and fast when nothing changed (a stamp with the hash of the inputs).
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
UV = "uv==0.13.9"
INPUTS = ("requirements.lock", "pyproject.toml", "tools/bootstrap.py")


def fingerprint() -> str:
    """Hash of everything that decides the content of the environment."""
    digest = hashlib.sha256(sys.version.encode())
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def run(scratch: str, *command: str | Path) -> None:
    """Run one installer command, or exit with its output when it fails.

    Temporary files go to `scratch`. No cache is used, because the home folder may not be writable. Certificates are the
    system's, which may include some that uv does not ship.
    """
    environ = {**os.environ, "TMPDIR": scratch, "UV_NO_CACHE": "1", "UV_SYSTEM_CERTS": "1"}
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=ROOT, env=environ, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(
            f"{done.stdout}{done.stderr}\nhangar: setting up .venv failed at: {' '.join(words)}\n"
            "The lines above say why. Fix the cause and run the same command again; it creates .venv from the start."
        )


def main() -> None:
    """Create or update `.venv`, one process at a time."""
    if sys.version_info < (3, 11):  # noqa: UP036  the system's python3 may be older
        sys.exit(
            f"hangar needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. "
            "Try: make PYTHON=python3.11"
        )
    current, stamp = fingerprint(), VENV / ".ready"
    if stamp.exists() and stamp.read_text() == current:
        return
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == current:
            return
        sys.stderr.write("hangar: setting up .venv (once, about ten seconds)\n")
        stamp.unlink(missing_ok=True)
        python, uv = VENV / "bin" / "python", VENV / "bin" / "uv"
        with tempfile.TemporaryDirectory(prefix="hangar-setup-") as scratch:
            run(scratch, sys.executable, "-m", "venv", "--clear", VENV)
            run(scratch, python, "-m", "pip", "install", "-q", "--no-cache-dir", "--disable-pip-version-check", UV)
            locked = ("--require-hashes", "-r", "requirements.lock")
            run(scratch, uv, "pip", "install", "-q", "--python", python, *locked)
            run(scratch, uv, "pip", "install", "-q", "--python", python, "--no-deps", "--no-build-isolation", "-e", ".")
            run(scratch, python, "-m", "compileall", "-q", "shared", "functions", "local", "ops", "main.py")
        partial = stamp.with_name(f".ready.{os.getpid()}")
        partial.write_text(current)
        partial.replace(stamp)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nhangar: set-up interrupted; run the same command again")
