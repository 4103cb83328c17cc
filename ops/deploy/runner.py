"""Runs a plan step by step. What is done is skipped, a failure names the step and what to do, and repeating continues."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from ops.deploy.database import DatabaseStepError
from ops.deploy.steps import (
    AddPlans,
    Command,
    Plan,
    Probe,
    Schedule,
    SetSettings,
    Step,
    WriteEnvFile,
    WriteVault,
    format_action,
)
from ops.deploy.tools import CommandError
from ops.project_files import ProjectFileError
from shared.adapters.http_client import make_client
from shared.domain.errors import HangarError

PROBE_FOR_S = 120.0
_BETWEEN_PROBES_S = 3.0
_PROBE_TIMEOUT_S = 30.0


class ProbeError(Exception):
    """A function did not answer as it should. The message says how it answered."""


@dataclass(frozen=True)
class Actions:
    """How each kind of step is carried out, so that a test can replace one."""

    command: Callable[[Command], None]
    settings: Callable[[SetSettings], None]
    plans: Callable[[AddPlans], None]
    vault: Callable[[WriteVault], None]
    schedule: Callable[[], None]
    env_file: Callable[[WriteEnvFile], None]
    probe: Callable[[Probe], str]


@dataclass(frozen=True)
class StepResult:
    """What became of one step: done, already, by_hand, failed or not_reached."""

    step: Step
    outcome: str
    detail: str = ""


def run_plan(plan: Plan, actions: Actions, show: Callable[[str], None]) -> list[StepResult]:
    """Run every step that is not done, in order, until one fails. After a failed check the other checks still run."""
    results: list[StepResult] = []
    is_stopped = False
    for number, step in enumerate(plan.steps, 1):
        head = f"[{number}/{len(plan.steps)}] {step.purpose}"
        if is_stopped:
            result = StepResult(step, "not_reached")
        elif step.done:
            show(f"{head}: done already")
            result = StepResult(step, "already")
        else:
            show(head)
            for line in format_action(step.action):
                show(f"    {line}")
            result = _run_step(step, actions)
            if result.detail:
                show(f"    {result.detail}")
            is_stopped = result.outcome == "failed" and not isinstance(step.action, Probe)
        results.append(result)
    return results


def _run_step(step: Step, actions: Actions) -> StepResult:
    if step.by_hand:
        return StepResult(step, "by_hand", f"left to you: {step.by_hand}")
    try:
        detail = _carry_out(step, actions)
    except (CommandError, DatabaseStepError, HangarError, ProjectFileError, ProbeError) as error:
        return StepResult(step, "failed", f"failed: {error}")
    return StepResult(step, "done", detail)


def _carry_out(step: Step, actions: Actions) -> str:
    action = step.action
    if isinstance(action, Command):
        actions.command(action)
    elif isinstance(action, SetSettings):
        actions.settings(action)
    elif isinstance(action, AddPlans):
        actions.plans(action)
    elif isinstance(action, WriteVault):
        actions.vault(action)
    elif isinstance(action, Schedule):
        actions.schedule()
    elif isinstance(action, WriteEnvFile):
        actions.env_file(action)
    else:
        return actions.probe(action)
    return ""


def probe(
    action: Probe,
    *,
    transport: httpx.BaseTransport | None = None,
    wait_s: float = PROBE_FOR_S,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Ask until the answer is the expected one; a new address needs a while. Raises ProbeError with the last answer."""
    ends_at = clock() + wait_s
    while True:
        seen = _ask(action, transport)
        if seen in {str(status) for status in action.expected}:
            return f"answered {seen}"
        if clock() >= ends_at:
            raise ProbeError(f"{action.url} answered {seen}, expected {' or '.join(map(str, action.expected))}")
        sleep(_BETWEEN_PROBES_S)


def _ask(action: Probe, transport: httpx.BaseTransport | None) -> str:
    try:
        with make_client(action.url, timeout=httpx.Timeout(_PROBE_TIMEOUT_S), transport=transport) as http:
            body = b"{}" if action.method == "POST" else None
            headers = {"Content-Type": "application/json"} if body else None
            return str(http.request(action.method, action.url, content=body, headers=headers).status_code)
    except httpx.HTTPError as error:
        return f"nothing ({type(error).__name__})"
