"""What tests of releases do as an operator, and how they let one run until it is at rest."""

import json
from collections import Counter
from contextlib import suppress
from typing import Any

from shared.domain.errors import TransientError

NEW = "registry.fly.io/vyx-app:v2"
ACTOR = "ops@example.test"


def operate(world: Any, procedure: str, **arguments: Any) -> Any:
    """Call a procedure of the operator, as the command line does."""
    named = ", ".join(f"{name} => %s" for name in arguments)
    values = [json.dumps(value) if isinstance(value, dict) else value for value in arguments.values()]
    (answer,) = world.sql(f"select public.{procedure}({named})", *values)[0]
    return answer


def change(world: Any, release: int, action: str) -> Any:
    return operate(world, "fly_change_release", p_id=release, p_action=action, p_actor=ACTOR)


def start_release(world: Any, **spec: Any) -> int:
    """Create a release and start it; its number."""
    made = operate(world, "fly_create_release", p_release=spec, p_actor=ACTOR)
    change(world, made["id"], "start")
    return made["id"]


def read_release(world: Any, release: int) -> Any:
    return operate(world, "fly_release", p_id=release)


def pass_minutes(world: Any, minutes: int) -> None:
    """Let the functions run as the schedule does: a drain a minute, and a sweep every fifth. Fly may be out of reach."""
    for minute in range(minutes):
        world.clock.advance(60)
        with suppress(TransientError):
            world.sweep(drain_only=minute % 5 != 4)


def is_at_rest(found: Any) -> bool:
    """Whether nothing moves any more: neither forward nor back."""
    return found["state"] not in ("rolling", "rolling_back") and not any(each["goes_back"] for each in found["targets"])


def finish(world: Any, release: int, minutes: int = 90) -> Any:
    """Let time pass until the release is at rest, at most so long."""
    for minute in range(minutes):
        world.clock.advance(60)
        world.sweep(drain_only=minute % 5 != 4)
        if is_at_rest(found := read_release(world, release)):
            return found
    return read_release(world, release)


def read_digests(world: Any) -> dict[str, str]:
    """What each app's only machine runs, by Fly's own state."""
    return {name: machine.image_digest for name, (machine,) in world.apps().items()}


def count_writes(world: Any) -> Counter[str]:
    """How many calls that change Fly were made for each app, in a world without turns."""
    calls = (where.removeprefix("before ") for where in world.boundaries.trace if where.startswith("before "))
    paths = (call.partition(" ")[2] for call in calls if "/v1/apps/" in call)
    return Counter(path.removeprefix("/v1/apps/").partition("/")[0].partition("?")[0] for path in paths)


def find_states(found: Any) -> set[str]:
    return {each["state"] for each in found["targets"]}


def check_fleet_is_well(world: Any) -> None:
    """Every app has one machine, which runs, and its row says so."""
    for name, machines in world.apps().items():
        assert [machine.state for machine in machines] == ["started"], name
    rows = "select distinct status, health_status from public.user_fly_apps where deleted_at is null"
    assert world.sql(rows) == [("active", "healthy")]
