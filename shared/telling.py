"""Events and settings in words, for command line and dashboard. Pure."""

import json
from collections.abc import Mapping
from typing import Any

# Elsewhere the actor is the worker that held the lease, which tells nobody anything.
_BY_PEOPLE = ("settings_changed", "override_set", "recovery_attempted")


def tell_what(event: Mapping[str, Any]) -> str:
    """The telling part of an event's metadata, and the error."""
    skipped = {"holder", "generation", "intent_id", "fly_request_id", "installation_id", "actor"}
    if event["event_type"] in _BY_PEOPLE:
        skipped.remove("actor")
    told = [
        f"{key} {_flat(value)}" for key, value in event["metadata"].items() if key not in skipped and value is not None
    ]
    return "; ".join([*told, *([event["error_details"]] if event["error_details"] else [])])


def _flat(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
