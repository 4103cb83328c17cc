"""Refuses worlds that cannot exist: a test of an impossible world proves nothing."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from local.fly.state.latency_profiles import Unkindness

_METHODS_BY_SEGMENTS = {
    # The paths of the Machines API by number of segments, and the methods of each.
    ("apps", 1): {"GET", "POST"},
    ("apps", 2): {"GET", "DELETE"},
    ("apps", 3): {"GET", "POST"},
    ("apps", 4): {"GET", "POST", "DELETE"},
    ("apps", 5): {"GET", "POST"},
    ("orgs", 3): {"GET"},
}


class ImpossibleWorldError(ValueError):
    """The message names each contradiction."""


def check_options(options: Any) -> None:
    """Raises ImpossibleWorldError when the options of a world contradict one another."""
    problems = [
        message
        for message, is_wrong in (
            ("record=True needs take_turns=True: the trace names processes", options.record and not options.take_turns),
            ("rewinds=True has one session: take_turns=True needs one each", options.rewinds and options.take_turns),
            (
                "shared is for worlds without turns, which do not record their rows",
                options.shared and options.take_turns,
            ),
            ("keep_turn is a probability", not 0 <= options.keep_turn <= 1),
            ("keep_turn needs take_turns=True", options.keep_turn and not options.take_turns),
            (
                "record=True needs a standing database, which prepares its statements",
                options.record and not options.standing,
            ),
        )
        if is_wrong
    ]
    if isinstance(options.unkind, Unkindness):
        problems += _find_impossible(options.unkind)
    _refuse(problems)


def check_faults(rules: list[Mapping[str, Any]]) -> None:
    """Raises ImpossibleWorldError for a fault that no request of Hangar can meet, or that Fly cannot produce."""
    _refuse([problem for rule in rules for problem in _find_problems(rule)])


def _find_impossible(unkind: Unkindness) -> list[str]:
    problems = []
    for each in fields(unkind):
        value = getattr(unkind, each.name)
        if isinstance(value, float) and not 0 <= value <= 1:
            problems.append(f"{each.name}={value} is not a probability")
        if isinstance(value, tuple) and len(value) == 2 and not 0 <= value[0] <= value[1]:
            problems.append(f"{each.name}={value} is not a range: give the smaller number first")
    return problems


def _find_problems(rule: Mapping[str, Any]) -> list[str]:
    method, path = str(rule.get("method", "*")), str(rule.get("path", ""))
    parts = path.strip("/").split("/")
    known = _METHODS_BY_SEGMENTS.get((parts[1], len(parts) - 1)) if parts[0] == "v1" and len(parts) > 1 else None
    problems = []
    if known is None:
        problems.append(f"the Machines API has no path {path}")
    elif method not in known | {"*"}:
        problems.append(f"{method} {path} is no call of the Machines API")
    if rule.get("times") == 0:
        problems.append(f"{method} {path} with times=0 never happens")
    if method == "GET" and rule.get("when") == "after" and not (rule.get("disconnect") or rule.get("delay_s")):
        problems.append(f"GET {path} has no effect that a failure could come after")
    return problems


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ImpossibleWorldError("; ".join(problems))
