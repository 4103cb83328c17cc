"""The checks of the doctor page as an operator reads them: the wrong ones first, with what to do. Pure."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shared.doctor.checks import Check

# What a function cannot check, and why.
LEFT_OUT = {
    "schema": "It compares the database with the migration files, which are only on an operator's machine.",
}
_ORDER = ("wrong", "warning", "ok")
_TONES = {"wrong": "bad", "warning": "busy", "ok": "good"}
_AGAIN = re.compile(r"\b([Rr])un `hangar doctor` again")
_COMMAND = re.compile(r"(?:hangar|fly|docker|select|alter|update|create|drop|grant|revoke|insert|notify|timedatectl)\b")


@dataclass(frozen=True)
class ShownCheck:
    """One check. `remedy` is empty if the check is ok; `is_command`: it is to be typed."""

    name: str
    state: str
    tone: str
    found: str
    remedy: str
    is_command: bool


def show_checks(checks: Iterable[Check], hide: Callable[[str], str]) -> list[ShownCheck]:
    """The wrong ones first, then the warnings; in each in the usual order. `hide` removes secrets from a text."""
    return [
        _show(check, hide) for check in sorted(checks, key=lambda check: _ORDER.index(check.state))
    ]  # sorted is stable


def _show(check: Check, hide: Callable[[str], str]) -> ShownCheck:
    remedy = "" if check.state == "ok" else _AGAIN.sub(_name_button, hide(check.remedy or ""))
    is_command = _COMMAND.match(remedy) is not None
    text = remedy if is_command else remedy.replace("`", "")
    return ShownCheck(
        check.name, check.state, _TONES[check.state], hide(check.found).replace("`", ""), text, is_command
    )


def _name_button(found: re.Match[str]) -> str:
    return "Press Check again" if found[1] == "R" else "press Check again"


def describe_reach(checks: Sequence[Check]) -> list[str]:
    """Which of the two that everything depends on did not answer, in sentences. Empty if both did, or nobody has asked."""
    by_name = {check.name: check for check in checks}
    database, fly = by_name.get("database"), by_name.get("fly_token")
    found = []
    if database is not None and database.state != "ok":
        found.append(
            "The database is out of reach. Apps that run keep running; Hangar changes nothing until it answers."
        )
    if fly is not None and not fly.was_made:
        found.append("Fly is out of reach. Apps may still run; Hangar tries again with every sweep.")
    return found
