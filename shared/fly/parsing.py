"""Fly's JSON read into the values of `shared.fly.models`. Pure: no I/O, no HTTP library.

The parse functions take the JSON as it comes and never fail on a missing, extra or unknown field: Fly adds states and fields
without notice, and a sweep over a fleet must not stop at one odd machine. What is unknown reads as "unknown", never as good
news. Shapes: Fly's OpenAPI description ("Machines API") and fly-go `machine_types.go`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from shared.fly.models import Check, FlyApp, FlyMachine, MachineEvent, MachineExit, OrgMachine

if TYPE_CHECKING:
    from collections.abc import Mapping

# Fly docs "Machine states"; anything else reads as "unknown".
MACHINE_STATES = frozenset(
    {
        "created", "started", "stopped", "suspended", "failed",
        "creating", "starting", "stopping", "restarting", "suspending", "destroying", "launch_failed", "updating",
        "replacing",
        "destroyed", "replaced", "migrated",
    }
)  # fmt: skip
_CHECK_STATUSES = frozenset({"passing", "warning", "critical"})
_HOST_STATUSES = frozenset({"ok", "unreachable"})
_BEFORE_FLY = datetime(2017, 1, 1, tzinfo=UTC)
_NO_METADATA: Mapping[str, str] = MappingProxyType({})


def parse_digests(listed: Any) -> dict[str, str]:
    """Name and digest of each secret that a list of Fly describes."""
    named = [each for each in listed or () if isinstance(each, dict)] if isinstance(listed, list) else []
    return {str(each["name"]): str(each["digest"]) for each in named if each.get("name") and each.get("digest")}


def parse_app(raw: Any, *, org_slug: str = "") -> FlyApp:
    """Fly's App as a `FlyApp`; `org_slug` is used where a listing omits the organisation."""
    data = _as_dict(raw)
    return FlyApp(
        name=_as_str(data.get("name")),
        org_slug=_as_str(_as_dict(data.get("organization")).get("slug")) or org_slug,
        network=_as_str(data.get("network")),
        machine_count=_as_int(data.get("machine_count")),
        status=_as_str(data.get("status")) or "unknown",
        id=_as_str(data.get("id")),
    )


def parse_machine(raw: Any) -> FlyMachine:
    """Fly's Machine as a `FlyMachine`; `id` is "" if the response was not a machine."""
    data = _as_dict(raw)
    config = _as_dict(data.get("config"))
    incomplete = not config or bool(data.get("incomplete_config"))
    events = [_as_dict(each) for each in _as_list(data.get("events"))]
    return FlyMachine(
        id=_as_str(data.get("id")),
        name=_as_str(data.get("name")),
        state=parse_state(data.get("state")),
        region=_as_str(data.get("region")),
        version=_as_str(data.get("version")) or _as_str(data.get("instance_id")),
        **_parse_config(config or _as_dict(data.get("incomplete_config"))),
        image_digest=_as_str(_as_dict(data.get("image_ref")).get("digest")),
        checks=_parse_checks(data.get("checks")),
        host_status=host if (host := _as_str(data.get("host_status"))) in _HOST_STATUSES else "unknown",
        created_at=parse_time(data.get("created_at")),
        updated_at=parse_time(data.get("updated_at")),
        last_event=_parse_last_event(events),
        last_exit=_parse_last_exit(events),
        incomplete=incomplete,
        configured_checks=tuple(name for name in _as_dict(config.get("checks")) if isinstance(name, str)),
        raw_state=_as_str(data.get("state")),
        crashes=_parse_crashes(events),
        config=MappingProxyType(config),
    )


def parse_org_machine(raw: Any) -> OrgMachine:
    """One item of the organisation's machine listing."""
    data = _as_dict(raw)
    return OrgMachine(
        id=_as_str(data.get("id")),
        name=_as_str(data.get("name")),
        app_name=_as_str(data.get("app_name")),
        state=parse_state(data.get("state")),
        region=_as_str(data.get("region")),
        version=_as_str(data.get("version")) or _as_str(data.get("instance_id")),
        **_parse_config(_as_dict(data.get("config"))),
        created_at=parse_time(data.get("created_at")),
        updated_at=parse_time(data.get("updated_at")),
    )


def parse_state(raw: Any) -> str:
    """One of `MACHINE_STATES`, or "unknown"."""
    return raw if isinstance(raw, str) and raw in MACHINE_STATES else "unknown"


def parse_time(raw: Any) -> datetime | None:
    """RFC 3339 text, or epoch seconds or milliseconds, as an aware time in UTC; None for anything else.

    None also for a time before Fly existed: Go writes `0001-01-01T00:00:00Z` when it has no time.
    """
    try:
        if isinstance(raw, str):
            read = datetime.fromisoformat(raw)
            return _since_fly((read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC))
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            return _since_fly(datetime.fromtimestamp(raw / 1000 if raw > 1e11 else raw, tz=UTC))
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _since_fly(read: datetime) -> datetime | None:
    return read if read >= _BEFORE_FLY else None


def _parse_config(config: dict[str, Any]) -> dict[str, Any]:
    guest, metadata = _as_dict(config.get("guest")), _as_dict(config.get("metadata"))
    return {
        "image": _as_str(config.get("image")),
        "cpus": _as_int(guest.get("cpus")),
        "memory_mb": _as_int(guest.get("memory_mb")),
        "cpu_kind": _as_str(guest.get("cpu_kind")),
        "metadata": MappingProxyType({k: v for k, v in metadata.items() if isinstance(v, str)})
        if metadata
        else _NO_METADATA,
    }


def _parse_checks(raw: Any) -> tuple[Check, ...]:
    checks = []
    for each in map(_as_dict, _as_list(raw)):
        name, status = _as_str(each.get("name")), _as_str(each.get("status"))
        # Placeholders of Fly's own deployments, not results (fly-go machine_types.go).
        if name and not name.startswith("bg_deployments_compat"):
            known = status if status in _CHECK_STATUSES else "unknown"
            checks.append(Check(name, known, _as_str(each.get("output")), parse_time(each.get("updated_at"))))
    return tuple(checks)


def _parse_last_event(events: list[dict[str, Any]]) -> MachineEvent | None:
    if not events:
        return None
    # Documented as newest first; sorted anyway, because an order is easily lost.
    newest = max(events, key=lambda each: _as_int(each.get("timestamp")))
    return MachineEvent(
        type=_as_str(newest.get("type")),
        status=_as_str(newest.get("status")),
        source=_as_str(newest.get("source")),
        at=parse_time(newest.get("timestamp")),
    )


def _parse_last_exit(events: list[dict[str, Any]]) -> MachineExit | None:
    exits = [each for each in events if _exit_event(each)]
    return _parse_exit(max(exits, key=lambda each: _as_int(each.get("timestamp")))) if exits else None


def _parse_crashes(events: list[dict[str, Any]]) -> tuple[datetime, ...]:
    """When the process ended although nobody asked it to. A program that ends well (code 0) may sleep until it is needed."""
    exits = [_parse_exit(each) for each in events if _exit_event(each)]
    return tuple(
        each.at for each in exits if each.at and not each.requested and (each.oom_killed or each.signal or each.code)
    )


def _exit_event(event: dict[str, Any]) -> dict[str, Any]:
    return _as_dict(_as_dict(event.get("request")).get("exit_event"))


def _parse_exit(event: dict[str, Any]) -> MachineExit:
    exit_event = _exit_event(event)
    signal = exit_event.get("signal")
    code = exit_event.get("exit_code")
    return MachineExit(
        code=code if isinstance(code, int) else None,
        signal=signal if isinstance(signal, int) and signal > 0 else None,
        oom_killed=exit_event.get("oom_killed") is True,
        requested=exit_event.get("requested_stop") is True,
        restarting=exit_event.get("restarting") is True,
        error=_as_str(exit_event.get("error")),
        at=parse_time(exit_event.get("exited_at")) or parse_time(event.get("timestamp")),
    )


def _as_dict(raw: Any) -> dict[str, Any]:
    return raw if isinstance(raw, dict) else {}


def _as_list(raw: Any) -> list[Any]:
    return raw if isinstance(raw, list) else []


def _as_str(raw: Any) -> str:
    return raw if isinstance(raw, str) else ""


def _as_int(raw: Any) -> int:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else 0
