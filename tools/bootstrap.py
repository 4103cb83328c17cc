"""Make `.venv` hold exactly what requirements.lock names. Standard library only: it runs before anything is installed.

Safe to run twice at once (a file lock) and cheap when nothing changed (a stamp with the hash of the inputs).
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
    """Hash of everything the environment is made from."""
    digest = hashlib.sha256(sys.version.encode())
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def run(scratch: str, *command: str | Path) -> None:
    """Run one installer command; its own output is the error message when it fails.

    Its temporary files go to `scratch`; no cache is used, because the home folder may not be writable; and certificates
    are the system's, which may have more than uv brings along.
    """
    environ = {**os.environ, "TMPDIR": scratch, "UV_NO_CACHE": "1", "UV_SYSTEM_CERTS": "1"}
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=ROOT, env=environ, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(
            f"{done.stdout}{done.stderr}\nhangar: setting up .venv failed at: {' '.join(words)}\n"
            "The lines above say why. Mend that and run the same command again; .venv is made anew then."
        )


def main() -> None:
    """Create or bring up to date `.venv`, one process at a time."""
    if sys.version_info < (3, 11):  # noqa: UP036  a machine's python3 may be older: say so
        sys.exit(
            f"hangar needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. "
            "Try: make PYTHON=python3.11"
        )
    wanted, stamp = fingerprint(), VENV / ".ready"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        sys.stderr.write("hangar: setting up .venv (about ten seconds, once)\n")
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
        partial.write_text(wanted)
        partial.replace(stamp)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nhangar: set-up interrupted; the same command starts it over")
