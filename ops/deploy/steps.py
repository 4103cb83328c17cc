"""A deployment as data: the steps in their order, what each would run, and whether it is done already.

A plan holds no I/O. Secrets are in `stdin` only, and every text that describes a step names them without their values.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Stdin:
    """What a command reads from standard input: the names are shown, the text never is."""

    names: tuple[str, ...]
    text: str = field(repr=False)


@dataclass(frozen=True)
class Command:
    """One command of a vendor, as it is typed."""

    argv: tuple[str, ...]
    stdin: Stdin | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def line(self) -> str:
        """The command as a shell would take it."""
        return shlex.join(self.argv)


@dataclass(frozen=True)
class SetSettings:
    """Changes settings of the installation, if they still are what was seen."""

    values: Mapping[str, str]
    seen: Mapping[str, Any]


@dataclass(frozen=True)
class AddPlans:
    """Adds plans that do not exist, by tier. A plan that exists stays as it is."""

    values: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class WriteVault:
    """Stores secrets in Supabase's Vault. `names` says where each value comes from."""

    values: Mapping[str, str] = field(repr=False)
    names: Mapping[str, str]


@dataclass(frozen=True)
class Schedule:
    """Creates the two jobs of pg_cron."""


@dataclass(frozen=True)
class WriteEnvFile:
    """Adds values that are no secret to `.env.hangar`."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class Probe:
    """One HTTP request whose answer shows that a function runs."""

    method: str
    url: str
    expected: tuple[int, ...]


Action = Command | SetSettings | AddPlans | WriteVault | Schedule | WriteEnvFile | Probe


@dataclass(frozen=True)
class Step:
    """One step. `check` says how Hangar finds out that it is done, `repair` what to do if it fails.

    `done` is None if that cannot be found out from here: the step then runs.
    """

    name: str
    purpose: str
    action: Action
    check: str
    repair: str
    done: bool | None = False
    by_hand: str | None = None  # why Hangar cannot run it, if it cannot


@dataclass(frozen=True)
class Plan:
    """Everything that one `hangar deploy` does, in order. `notes` are what an operator should know before it starts."""

    target: str
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The plan without any secret."""
        return {
            "target": self.target,
            "notes": list(self.notes),
            "steps": [describe(step) for step in self.steps],
        }


def describe(step: Step) -> dict[str, Any]:
    """One step without any secret."""
    document: dict[str, Any] = {
        "name": step.name,
        "purpose": step.purpose,
        "done": step.done,
        "skipped_when": step.check,
        "runs": format_action(step.action),
    }
    if isinstance(step.action, Command):
        document["command"] = list(step.action.argv)
        if step.action.stdin:
            document["stdin"] = list(step.action.stdin.names)
        if step.action.environ:
            document["environment"] = list(step.action.environ)
    if step.by_hand:
        document["by_hand"] = step.by_hand
    return document


def format_action(action: Action) -> list[str]:
    """What runs, as lines for a person. Secrets are named."""
    if isinstance(action, Command):
        lines = [action.line]
        if action.stdin:
            lines.append(f"  standard input: {', '.join(action.stdin.names)}")
        if action.environ:
            lines.append(f"  environment: {', '.join(action.environ)}")
        return lines
    if isinstance(action, SetSettings):
        return [f"hangar settings set {shlex.join(f'{key}={value}' for key, value in action.values.items())}"]
    if isinstance(action, AddPlans):
        return [
            shlex.join(
                ["hangar", "plans", "set", tier, "--create", *(f"{key}={value}" for key, value in values.items())]
            )
            for tier, values in action.values.items()
        ]
    if isinstance(action, WriteVault):
        return [
            f"select vault.create_secret(<{source}>, '{name}');   -- or vault.update_secret, if it exists"
            for name, source in action.names.items()
        ]
    if isinstance(action, Schedule):
        return [
            "select cron.schedule('check-fly-apps-health', '*/5 * * * *', 'select hangar.call_health(false)');",
            "select cron.schedule('hangar-drain', '* * * * *', 'select hangar.call_health(true)');",
        ]
    if isinstance(action, WriteEnvFile):
        return [f"write {name} into .env.hangar" for name in action.values]
    expected = " or ".join(str(status) for status in action.expected)
    return [f"{action.method} {action.url} answers {expected}"]


def format_plan(plan: Plan) -> list[str]:
    """The whole plan as lines for a person."""
    lines = [f"note: {note}" for note in plan.notes]
    for number, step in enumerate(plan.steps, 1):
        mark = "  (done already)" if step.done else "  (by hand)" if step.by_hand else ""
        lines += ["", f"{number:>2}. {step.purpose}{mark}"]
        lines += [f"      {line}" for line in format_action(step.action)]
        lines.append(f"      skipped when {step.check}")
        if step.by_hand and not step.done:
            lines.append(f"      by hand: {step.by_hand}")
    return lines
