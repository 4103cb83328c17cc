"""Names of apps, machines and networks. A network name proves who owns its app. SQL makes the same names (tested)."""

import hashlib
import re
from dataclasses import dataclass
from uuid import UUID

_PROOF = re.compile(r"hangar-([0-9a-f]{12})-([0-9a-f]{32})")


@dataclass(frozen=True)
class Proof:
    """The owner that a network name states: the installation (first 12 hex digits of its id) and the row."""

    installation: str
    row_id: UUID


def app_name(prefix: str, user_id: UUID, name_seq: int) -> str:
    """`{prefix}-{8 hex digits of SHA-256("{user_id}:{name_seq}")}`. Fly accepts lower case, digits and dashes."""
    digest = hashlib.sha256(f"{user_id}:{name_seq}".encode()).hexdigest()
    return f"{prefix}-{digest[:8]}"


def machine_name(app: str) -> str:
    """The name of the app's one machine. It is fixed, so that Fly refuses a second create instead of adding a machine."""
    return f"{app}-main"


def second_machine_name(app: str, taken: str) -> str:
    """The name of the machine to which an app moves, beside the one called `taken`: one of two, so that Fly refuses a third."""
    return f"{app}-main-2" if taken == machine_name(app) else machine_name(app)


def machine_names(app: str) -> tuple[str, str]:
    """Both names that Hangar gives to machines of this app."""
    return machine_name(app), f"{app}-main-2"


def installation_mark(installation_id: UUID) -> str:
    """The part of an installation's id that is in its network names."""
    return installation_id.hex[:12]


def network_name(installation_id: UUID, row_id: UUID) -> str:
    """The name of the app's private network, which proves ownership: Fly never changes it during the life of the app."""
    return f"hangar-{installation_mark(installation_id)}-{row_id.hex}"


def read_proof(network: str | None) -> Proof | None:
    """The owner that a network name states. None means that the app is not Hangar's and must not be touched."""
    match = _PROOF.fullmatch(network or "")
    return Proof(match[1], UUID(hex=match[2])) if match else None
