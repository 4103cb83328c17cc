"""Ways for root to run a program that refuses root, such as Postgres. Containers differ in what they allow."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

_SETPRIV = "setpriv"


def _ways() -> list[list[str]]:
    """The commands to try, best first: a user namespace needs no change of owners, else the user becomes `nobody`.

    The second one keeps the right to enter closed folders, such as a checkout in root's home.
    """
    nobody = pwd.getpwnam("nobody")
    user, group = nobody.pw_uid, nobody.pw_gid
    become = [_SETPRIV, f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    pass_folders = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    override = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]  # the only one in Docker's default set
    # A change of user clears the death signal that the trampoline set, so setpriv sets it again.
    last = ["--pdeathsig=SIGQUIT", "--"]
    return [
        ["unshare", "--user", f"--map-user={user}", f"--map-group={group}", "--"],
        [*become, *pass_folders, *last],
        [*become, *override, *last],
        [*become, *last],
    ]


def foreign_owner(prefix: list[str]) -> tuple[int, int] | None:
    """User and group that must own the program's data, None for ourselves."""
    if prefix and prefix[0] == _SETPRIV:
        nobody = pwd.getpwnam("nobody")
        return nobody.pw_uid, nobody.pw_gid
    return None


def drop_root(folder: Path, program: Path) -> list[str] | None:
    """The prefix of a command that must not run as root: empty when none is needed, None when no way works here.

    A way works when `program --version` runs with it and can enter `folder`. `foreign_owner` names the owner that the
    program's data needs.
    """
    if os.geteuid() != 0:
        return []
    for prefix in _ways():
        probe = [*prefix, "sh", "-c", 'cd "$0" && exec "$1" --version', str(folder), str(program)]
        if shutil.which(prefix[0]) and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return prefix
    return None
