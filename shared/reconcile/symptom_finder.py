"""What is wrong with one machine, read from Fly's own answer about it."""

from collections.abc import Iterable
from datetime import UTC, datetime

from shared.domain.symptom import Symptom, SymptomCode
from shared.fly.models import Check, FlyMachine, MachineExit
from shared.observability.redaction import cut_excerpt

# Prefix of the checks that steer Fly's own proxy; they are no results of the backend's endpoints.
PROXY_CHECK = "servicecheck-"
_OUTPUT_CHARS = 160
_WORDS_CHARS = 40


def backend_checks(machine: FlyMachine) -> tuple[Check, ...]:
    """The results of the backend's own endpoints."""
    return tuple(check for check in machine.checks if not check.name.startswith(PROXY_CHECK))


def missing_checks(machine: FlyMachine) -> list[str]:
    """The configured checks that have no result."""
    found = {check.name for check in machine.checks}
    return [name for name in machine.configured_checks if name not in found]


def find_symptom(machine: FlyMachine) -> Symptom | None:
    """The most telling thing that is wrong with the machine, with Fly's last words about it; None when nothing is."""
    found = _find(machine)
    if found is None:
        return None
    return Symptom(found.code, "; ".join([found.detail, *_last_words(machine)]))


def _find(machine: FlyMachine) -> Symptom | None:
    if machine.host_status != "ok" or machine.incomplete:
        detail = f"Fly cannot reach the host of the machine (host status {machine.host_status!r})"
        return Symptom(SymptomCode.HOST_UNREACHABLE, detail)
    state = machine.state
    if state == "unknown":
        word = cut_excerpt(machine.raw_state, _WORDS_CHARS)
        return Symptom(
            SymptomCode.UNKNOWN_STATE, f"Fly calls the state of the machine {word!r}, which Hangar does not know"
        )
    if state in ("stopped", "suspended", "failed"):
        return Symptom(SymptomCode.NOT_RUNNING, f"the machine is {state}{_since(machine.updated_at)}")
    if state != "started":
        return Symptom(SymptomCode.NOT_READY, f"the machine is {state}{_since(machine.updated_at)} and not ready")
    return _find_in_checks(machine)


def _find_in_checks(machine: FlyMachine) -> Symptom | None:
    checks = backend_checks(machine)
    if critical := [check for check in checks if check.status == "critical"]:
        return Symptom(SymptomCode.CHECK_CRITICAL, _describe(critical))
    if missing := missing_checks(machine):
        names = " and ".join(repr(name) for name in missing)
        verb = "has" if len(missing) == 1 else "have"
        return Symptom(SymptomCode.CHECK_MISSING, f"the check {names} {verb} no result")
    if not checks:
        return Symptom(
            SymptomCode.CHECK_MISSING, "the machine has no health check, so nothing says whether the app works"
        )
    if odd := [check for check in checks if check.status != "passing"]:
        return Symptom(SymptomCode.CHECK_WARNING, _describe(odd))
    return None


def _describe(checks: Iterable[Check]) -> str:
    return "; ".join(
        f"the check {check.name!r} is {check.status}: {cut_excerpt(check.output, _OUTPUT_CHARS) or 'no output'}"
        for check in checks
    )


def _last_words(machine: FlyMachine) -> list[str]:
    words = []
    if event := machine.last_event:
        words.append(f"Fly's last event: {event.type} {event.status}{_at(event.at)}".rstrip())
    if (ended := machine.last_exit) and not ended.requested:
        words.append(f"it last ended{_at(ended.at)}: {describe_exit(ended)}")
    return words


def describe_exit(ended: MachineExit) -> str:
    """Why a process ended, in Fly's words."""
    parts = ["out of memory"] if ended.oom_killed else []
    parts += [f"exit code {ended.code}"] if ended.code is not None else []
    parts += [f"signal {ended.signal}"] if ended.signal else []
    parts += [cut_excerpt(ended.error, _OUTPUT_CHARS)] if ended.error else []
    return ", ".join(parts) or "no reason given"


def _since(at: datetime | None) -> str:
    return f" since {_format(at)}" if at else ""


def _at(at: datetime | None) -> str:
    return f" at {_format(at)}" if at else ""


def _format(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
