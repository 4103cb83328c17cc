"""Any JSON from Fly becomes plain values. An unknown value never counts as healthy."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.fly.models import Check, FlyMachine
from shared.fly.parsing import (
    MACHINE_STATES,
    parse_app,
    parse_machine,
    parse_org_machine,
    parse_state,
    parse_time,
)

FULL = {
    "id": "148e1234c56789",
    "name": "app-main",
    "state": "stopped",
    "region": "fra",
    "instance_id": "01HOLD",
    "created_at": "2026-11-22T10:00:00Z",
    "updated_at": "2026-11-22T11:00:00.123456789+01:00",
    "config": {
        "image": "registry.fly.io/backend:1",
        "guest": {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512},
        "metadata": {"row": "r-1", "odd": 7},
    },
    "image_ref": {"digest": "sha256:abc"},
    "host_status": "ok",
    "checks": [
        {"name": "health", "status": "passing"},
        {"name": "ready", "status": "brand-new-word"},
        {"name": "bg_deployments_compat_1", "status": "passing"},
    ],
    "events": [
        {"type": "start", "status": "started", "source": "flyd", "timestamp": 1_795_341_600_000},
        {
            "type": "exit",
            "status": "stopped",
            "source": "flyd",
            "timestamp": 1_795_341_700_000,
            "request": {"exit_event": {"exit_code": 137, "oom_killed": True, "requested_stop": False, "signal": 9}},
        },
        {"type": "exit", "timestamp": 1_795_341_500_000, "request": {"exit_event": {"exit_code": 1}}},
    ],
}


def test_a_full_machine_is_read_in_full():
    """Size, image, metadata, checks, newest event and newest exit are read from events in any order."""
    machine = parse_machine(FULL)
    assert (machine.version, machine.image_digest, machine.cpu_kind) == ("01HOLD", "sha256:abc", "shared")
    assert dict(machine.metadata) == {"row": "r-1"}
    assert machine.checks == (Check("health", "passing"), Check("ready", "unknown"))
    assert machine.updated_at == datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
    assert machine.last_event is not None
    assert (machine.last_event.type, machine.last_event.status) == ("exit", "stopped")
    assert machine.last_exit is not None
    assert (machine.last_exit.code, machine.last_exit.signal, machine.last_exit.oom_killed) == (137, 9, True)
    assert not machine.incomplete


@pytest.mark.parametrize(
    "broken", [{"incomplete_config": FULL["config"], "config": None}, {"config": None}, {"config": {}}]
)
def test_a_machine_on_an_unreachable_host_is_incomplete(broken):
    """Fly then sends `incomplete_config` instead of `config`. It is not used to rebuild a machine."""
    machine = parse_machine(FULL | broken | {"host_status": "unreachable"})
    assert machine.incomplete
    assert machine.host_status == "unreachable"


def test_both_configs_at_once_are_still_incomplete():
    """`incomplete_config` wins over `config`."""
    assert parse_machine(FULL | {"incomplete_config": {"image": "x"}}).incomplete


def test_a_missing_host_status_is_not_ok():
    """Only the value "ok" counts as ok."""
    assert parse_machine({"id": "1"}).host_status == "unknown"
    assert parse_machine({"id": "1", "host_status": "fine"}).host_status == "unknown"


def test_new_states_are_unknown():
    """A new state neither stops the sweep nor counts as a known one."""
    assert parse_state("hibernating") == parse_state(None) == parse_state(7) == parse_state([]) == "unknown"
    assert all(parse_state(each) == each for each in MACHINE_STATES)


@pytest.mark.parametrize("raw", ["", "soon", None, True, -5, 0, 1e300, float("nan"), [], {}])
def test_an_invalid_time_is_none(raw):
    """An invalid time is not replaced by a guess."""
    assert parse_time(raw) is None


def test_times_come_as_text_seconds_or_milliseconds():
    """Machines use RFC 3339, events milliseconds, leases seconds."""
    wanted = datetime(2026, 11, 22, 10, tzinfo=UTC)
    seconds = int(wanted.timestamp())
    assert parse_time("2026-11-22T10:00:00Z") == parse_time(seconds) == parse_time(seconds * 1000) == wanted


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FULL, "guest", "request"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*FULL, "incomplete_config"]), json_values) | json_values)
def test_any_json_can_be_parsed(raw):
    """A field that is missing or has another type becomes empty or unknown."""
    machine = parse_machine(raw)
    assert isinstance(machine, FlyMachine)
    assert machine.state in MACHINE_STATES | {"unknown"}
    parse_org_machine(raw)
    parse_app(raw)


def test_machines_are_values():
    """Machines compare by value, are hashable and cannot be changed."""
    assert {parse_machine(FULL), parse_machine(FULL)} == {parse_machine(FULL)}
    with pytest.raises(AttributeError):
        parse_machine(FULL).state = "started"  # type: ignore[misc]  # what is tested
