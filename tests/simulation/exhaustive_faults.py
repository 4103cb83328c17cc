"""Every failure of Fly's API that Hangar can meet: responses, and states of Fly's world.

They come from the collected facts about the Machines API: documented errors, and reports from production. `calls` limits a
failure to some calls; without it any call may fail in this way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Call = tuple[str, str]

CREATE_APP, DELETE_APP = ("POST", "/v1/apps"), ("DELETE", "/v1/apps/*")
CREATE_MACHINE, UPDATE_MACHINE = ("POST", "/v1/apps/*/machines"), ("POST", "/v1/apps/*/machines/*")
START_MACHINE, STOP_MACHINE = ("POST", "/v1/apps/*/machines/*/start"), ("POST", "/v1/apps/*/machines/*/stop")
GET_MACHINE, WAIT = ("GET", "/v1/apps/*/machines/*"), ("GET", "/v1/apps/*/machines/*/wait")
DESTROY_MACHINE = ("DELETE", "/v1/apps/*/machines/*")
LIST_MACHINES, LIST_APPS = ("GET", "/v1/orgs/hangar-test/machines"), ("GET", "/v1/apps")
_PLACING = frozenset({CREATE_MACHINE, UPDATE_MACHINE, START_MACHINE})
_CHANGING = frozenset({UPDATE_MACHINE, START_MACHINE, STOP_MACHINE, DESTROY_MACHINE, DELETE_APP})
_LISTING = frozenset({LIST_MACHINES, LIST_APPS})
_WRITING = frozenset({CREATE_APP, ("POST", "/v1/apps/*/secrets"), *_PLACING, *_CHANGING})
_ANSWERING = frozenset({CREATE_MACHINE, UPDATE_MACHINE, GET_MACHINE, LIST_MACHINES, LIST_APPS, ("GET", "/v1/apps/*")})


@dataclass(frozen=True)
class Failure:
    """One kind of failure. `rule` is a fault of the simulator; `bend` changes all machines until the faults end."""

    rule: Mapping[str, Any] = field(default_factory=dict)
    calls: frozenset[Call] | None = None
    bend: Mapping[str, Any] = field(default_factory=dict)
    region: Mapping[str, Any] = field(default_factory=dict)
    everything: Mapping[str, Any] = field(default_factory=dict)
    """What Fly answers to every call that changes something, from this call on until the faults end."""

    def may_meet(self, call: Call) -> bool:
        return self.calls is None or call in self.calls


def refuse_everything(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The faults of an organisation that Fly serves no longer."""
    return [
        {"method": method, "path": path, "when": "before", "times": 50, **answer} for method, path in sorted(_WRITING)
    ]


def _says(status: int, error: str, *calls: Call, code: str | None = None, **rule: Any) -> Failure:
    body = {"error": error} | ({"status": code} if code else {})
    return Failure({"status": status, "body": body, **rule}, frozenset(calls) or None)


def _text(status: int, text: str | None = None, *calls: Call, **rule: Any) -> Failure:
    return Failure({"status": status, **({"text": text} if text is not None else {}), **rule}, frozenset(calls) or None)


_HTML = "<html><body>bad gateway</body></html>"

NOTHING = "nothing"
FAILURES: dict[str, Failure] = {
    NOTHING: Failure(),
    # Server errors
    "500": _says(500, "unknown: internal"),
    "500 empty": _text(500),
    "502 html": _text(502, _HTML),
    "503": _says(503, "unavailable: try again"),
    "503 html with Retry-After": _text(503, _HTML, headers={"Retry-After": "5"}),
    "504 empty": _text(504),
    "408": _says(408, "deadline_exceeded: timed out"),
    "408 empty": _text(408),
    # Network errors
    "reset": Failure({"disconnect": True}),
    "slow": Failure({"delay_s": 10.0}),
    "too slow": Failure({"delay_s": 90.0}),
    "slow and reset": Failure({"delay_s": 20.0, "disconnect": True}),
    # Rate limits
    "429": _says(429, "rate limit exceeded"),
    "429 with Retry-After": _says(429, "rate limit exceeded", headers={"Retry-After": "3"}),
    "429 html with a long Retry-After": _text(429, _HTML, headers={"Retry-After": "3600"}),
    # Authentication
    "401": _says(401, "Authenticate: token validation error"),
    "403": _says(403, "unauthorized"),
    "403 quota": _says(
        403,
        'organization "x" is using 9 MB of memory in iad which is over the allowed quota. please consider other regions',
    ),
    # Missing apps and machines
    "404": _says(404, "app not found"),
    "404 machine": _says(404, "not_found: machine not found"),
    "404 page": _text(404, "404 page not found\n"),
    "404 empty": _text(404),
    "410": _says(410, "gone"),
    "422 name taken": _says(422, "Validation failed: Name has already been taken", CREATE_APP, code="name_taken"),
    "422 name taken, no code": _says(422, "uniqueness constraint violated", CREATE_APP),
    "409 exists": _says(409, "already exists", CREATE_APP),
    "409 machine exists": _says(
        409,
        'already_exists: unique machine name violation, machine ID 0badc0ffee already exists with name "x"',
        CREATE_MACHINE,
    ),
    # Temporary conflicts
    "409 concurrent update": _says(409, "aborted: machine update failed due to concurrent update"),
    "409 leased": _says(409, "machine ID m lease currently held by a@tokens.fly.io, expires at 2030"),
    "412 still active": _says(412, "failed_precondition: machine still active, refusing to start", *_CHANGING),
    "412 created": _says(412, "failed_precondition: unable to start machine from current state: 'created'", *_CHANGING),
    "412 replacing": _says(412, "failed_precondition: machine getting replaced, refusing to start", *_CHANGING),
    "412 secrets": _says(
        412, "failed_precondition: secrets version 9 is not available", CREATE_MACHINE, UPDATE_MACHINE
    ),
    "409 still starting": _says(409, "machine still attempting to start", START_MACHINE),
    "503 maintenance": _says(503, "unavailable: deploys to this host are temporarily disabled, try later", *_PLACING),
    "400 currently replaced": _says(400, "machine is currently replaced", WAIT),
    "400 wait": _says(
        400, "invalid_argument: invalid WaitMachineRequest.Timeout: value must be inside range [1s, 1m0s]", WAIT
    ),
    # Capacity
    "422 capacity": _says(422, "could not find a candidate host", *_PLACING, code="insufficient_capacity"),
    "409 capacity": _says(409, "aborted: no capacity", *_PLACING),
    "409 host full": _says(409, "aborted: could not reserve resource for machine: insufficient CPUs", *_PLACING),
    "503 capacity": _says(503, "out of capacity", *_PLACING, code="insufficient_capacity"),
    "412 volume": _says(
        412, "insufficient resources to create new machine", *_PLACING, code="volume_placement_capacity"
    ),
    # Refusals that a person must end
    "403 suspended": _says(403, "organization is suspended: pay the open invoice"),
    "403 high risk": _says(403, "Your Fly.io account has been marked as high risk. Please verify your account."),
    "422 machine limit": _says(422, "Your organization has reached its machine limit. Please contact billing@fly.io"),
    "everything suspended": Failure(
        calls=_WRITING, everything={"status": 403, "body": {"error": "organization is suspended: pay the open invoice"}}
    ),
    "everything unauthorized": Failure(
        calls=_WRITING, everything={"status": 401, "body": {"error": "Authenticate: token validation error"}}
    ),
    # An operator is needed
    "422 validation": _says(422, "validation failed"),
    "400 image": _says(400, "failed to get manifest: no such image", CREATE_MACHINE, UPDATE_MACHINE),
    "400 size": _says(400, "invalid config.guest.memory_mb, minimum required 4096 MiB", CREATE_MACHINE, UPDATE_MACHINE),
    "501": _says(501, "not implemented"),
    "301": _text(301, headers={"Location": "https://elsewhere.test/"}),
    # Successes that cannot be parsed
    "200 empty": _text(200),
    "200 html": _text(200, "<html>welcome</html>"),
    "200 cut off": _text(200, '{"id": "0badc0ffee", "sta'),
    "200 nothing": Failure({"status": 200, "body": {}}),
    "200 null": _text(200, "null"),
    "200 list": Failure({"status": 200, "body": []}),
    "200 of another": Failure(
        {"status": 200, "body": {"id": "0badc0ffee", "name": "another", "state": "started", "network": "another"}},
        _ANSWERING,
    ),
    "202 empty": _text(202),
    # States of the world on Fly
    "host unreachable": Failure(bend={"host_status": "unreachable"}, calls=frozenset({GET_MACHINE, LIST_MACHINES})),
    "host unknown": Failure(bend={"host_status": "unknown"}, calls=frozenset({GET_MACHINE})),
    "machine fails": Failure(bend={"state": "failed"}, calls=frozenset({GET_MACHINE, WAIT, STOP_MACHINE})),
    "stuck": Failure(bend={"state": "starting"}, calls=frozenset({GET_MACHINE, WAIT})),
    "region unreadable": Failure(region={"error": True}, calls=_LISTING),
    "region full": Failure(region={"full": True}, calls=frozenset({CREATE_MACHINE})),
    "no quota left": Failure(region={"quota_mb": 0}, calls=frozenset({CREATE_MACHINE})),
}
# One failure for each kind of reaction. These are combined with every fate and every delivery.
TYPICAL = (NOTHING, "503", "reset", "429 with Retry-After", "404", "409 concurrent update", "422 capacity", "200 empty")
