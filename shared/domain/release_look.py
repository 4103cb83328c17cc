"""What one look at a machine says about the release that has moved it. Pure.

"Done" must mean that the new image runs and works. That an update was accepted proves nothing: after a failed pull Fly goes back
to the former version, with green checks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.domain.cost import format_size

Verdict = Literal["good", "bad", "dead", "unknown", "asleep", "restarted"]
# The check whose answer says which user and version the backend serves (docs/backend-contract.md).
READY_CHECK = "ready"
# Fly's clock and the database's agree within seconds, and an exit of the former machine is logged a moment after the update.
EXIT_GRACE = timedelta(seconds=2)


@dataclass(frozen=True)
class CheckResult:
    """One check of the backend: Fly's word for it, and what it answered."""

    name: str
    status: str
    output: str = ""


@dataclass(frozen=True)
class SeenMachine:
    """What Fly says about a machine, with times by the database's clock. `exited_at`: the last exit that nobody asked for."""

    state: str
    image: str
    image_digest: str
    instance: str
    host_ok: bool
    checks: Sequence[CheckResult] = ()
    configured_checks: Sequence[str] = ()
    exited_at: datetime | None = None
    exit_text: str = ""
    exit_failed: bool = False
    out_of_memory: bool = False
    size: tuple[str, int, int] | None = None
    env_digest: str = ""


@dataclass(frozen=True)
class Expected:
    """What the release wants of the machine. `image` and `version` are None when any will do; `since` is when it was moved.

    `known_digest` is what Fly showed for this image before, for an app that goes back: `image` may name an index. `env_digest` is
    the fingerprint of the environment that Hangar sent; None if it sent none.
    """

    user_id: str
    image: str | None
    version: str | None
    since: datetime
    good_since: datetime | None = None
    on_demand: bool = False
    known_digest: str | None = None
    size: tuple[str, int, int] | None = None
    env_digest: str | None = None


@dataclass(frozen=True)
class Look:
    """The verdict, with a stable code and a sentence about what is wrong.

    good: all of it holds now. bad: not yet, or no longer. dead: it will not become good. unknown: nothing can be said now.
    asleep: updated while stopped, and its plan lets it sleep. restarted: it was well, and was started once more to prove
    that it starts again.
    """

    verdict: Verdict
    code: str = ""
    detail: str = ""


def judge_look(expected: Expected, machine: SeenMachine) -> Look:
    """Judge one machine. The order matters: what is unknown proves nothing, and what proves the most comes first."""
    if not machine.host_ok:
        return Look("unknown", "host_unreachable", "Fly cannot reach the machine's host")
    return (
        _judge_state(expected, machine)
        or _judge_image(expected, machine)
        or _judge_config(expected, machine)
        or _judge_exits(expected, machine)
        or _judge_sleep(expected, machine)
        or _judge_checks(machine)
        or _judge_ready(expected, machine)
        or Look("good")
    )


def _judge_state(expected: Expected, machine: SeenMachine) -> Look | None:
    if machine.state in ("failed", "launch_failed", "destroyed"):
        return Look("dead", "machine_failed", f"the machine is {machine.state}{_words(machine)}")
    if machine.state == "stopped" and expected.on_demand and machine.exit_failed and _has_ended(expected, machine):
        return Look("dead", "exited", f"the machine is {machine.state}{_words(machine)}")  # that is no sleep
    if machine.state in ("stopped", "suspended") and not expected.on_demand:
        if _has_ended(expected, machine):  # Fly starts it no more, so waiting changes nothing
            return Look("dead", "exited", f"the machine is {machine.state}{_words(machine)}")
        return Look("bad", "not_running", f"the machine is {machine.state}{_words(machine)}")
    if machine.state not in ("started", "stopped", "suspended"):
        return Look("bad", "not_running", f"the machine is {machine.state}")
    return None


def _has_ended(expected: Expected, machine: SeenMachine) -> bool:
    """Whether the machine has ended by itself since it was moved."""
    return machine.exited_at is not None and machine.exited_at > expected.since + EXIT_GRACE


def _judge_image(expected: Expected, machine: SeenMachine) -> Look | None:
    if expected.image is None:
        return None
    wanted, _, digest = expected.image.partition("@")
    runs, _, pinned = machine.image.partition("@")
    if runs != wanted:
        return Look(
            "bad", "other_image", f"runs {machine.image or 'an unknown image'}, and should run {expected.image}"
        )
    seen = machine.image_digest or pinned
    if digest and seen and seen not in (digest, expected.known_digest):
        detail = f"runs the digest {seen}, and should run {digest}"
        if pinned == digest:
            # Fly was given exactly this digest: only an index is shown as another one.
            detail += (
                ". If that is the digest of an index for several platforms, release the digest for amd64/linux instead"
            )
        return Look("dead", "wrong_digest", detail)
    return None


def _judge_config(expected: Expected, machine: SeenMachine) -> Look | None:
    """After a failed pull Fly goes back to the whole former machine, not only to its image."""
    if expected.size is not None and machine.size is not None and machine.size != expected.size:
        detail = f"runs {format_size(*machine.size)}, and should run {format_size(*expected.size)}"
        return Look("bad", "other_size", detail)
    if expected.env_digest and machine.env_digest != expected.env_digest:
        return Look("bad", "other_env", "runs another environment than the one that Hangar sent")
    return None


def _judge_exits(expected: Expected, machine: SeenMachine) -> Look | None:
    """An exit that nobody asked for, since the machine was moved: out of memory is final, others may be a hiccup of the start."""
    if machine.exited_at is None or not _has_ended(expected, machine):
        return None
    if machine.out_of_memory:
        return Look("dead", "out_of_memory", f"the machine ran out of memory{_words(machine)}")
    if expected.good_since is not None and machine.exited_at > expected.good_since - EXIT_GRACE:
        return Look("dead", "exited", f"the machine ended after it had been good{_words(machine)}")
    return None


def _judge_sleep(expected: Expected, machine: SeenMachine) -> Look | None:
    if machine.state == "started" or not expected.on_demand:
        return None
    if machine.state == "stopped" and _has_ended(expected, machine):
        return Look("asleep", "exited", f"the program has ended by itself{_words(machine)}")
    return Look("asleep", "unproven", f"the machine is {machine.state}, as its plan allows")


def _judge_checks(machine: SeenMachine) -> Look | None:
    for check in machine.checks:
        if check.status != "passing":
            detail = f"the check {check.name!r} is {check.status}: {check.output[:160] or 'no output'}"
            return Look("bad", f"check_{check.status}", detail)
    missing = sorted(set(machine.configured_checks) - {check.name for check in machine.checks})
    if missing or not machine.checks:
        return Look("bad", "check_missing", f"no result of {', '.join(missing) or 'any check'}")
    return None


def _judge_ready(expected: Expected, machine: SeenMachine) -> Look | None:
    """What the backend says of itself, as far as it says it: another user or another version is not what was released."""
    answer = next((_read(check.output) for check in machine.checks if check.name == READY_CHECK), None) or {}
    user = answer.get("user_id")
    if isinstance(user, str) and user and user != expected.user_id:
        return Look("dead", "wrong_user", f"/ready answers for the user {user}")
    image = answer.get("image")
    if expected.image is not None and isinstance(image, str) and image:
        reported, _, digest = image.partition("@")
        wanted, _, wanted_digest = expected.image.partition("@")
        if reported != wanted or (digest and wanted_digest and digest != wanted_digest):
            return Look("bad", "old_version", f"/ready reports the image {image}, and {expected.image} was released")
    if expected.version is not None and answer.get("version") != expected.version:
        said = answer.get("version")
        detail = f"/ready reports {'no version' if said is None else f'the version {said!r}'}, not {expected.version!r}"
        return Look("bad", "old_version", detail)
    return None


def _read(output: str) -> Mapping[str, Any]:
    """The JSON object in a check's output, which Fly may put text around; {} when there is none."""
    start = output.find("{")
    try:
        found = json.JSONDecoder().raw_decode(output[start:])[0] if start >= 0 else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _words(machine: SeenMachine) -> str:
    return f": {machine.exit_text}" if machine.exit_text else ""
