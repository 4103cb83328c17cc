"""Names and the proof of ownership that travels in them. The database makes the same names in SQL; a test compares both."""

import hashlib
import re
from dataclasses import dataclass
from uuid import UUID

_PROOF = re.compile(r"hangar-([0-9a-f]{12})-([0-9a-f]{32})")


@dataclass(frozen=True)
class Proof:
    """The owner that an app's network name states: the installation (its first 12 hex digits) and the row."""

    installation: str
    row_id: UUID


def app_name(prefix: str, user_id: UUID, name_seq: int) -> str:
    """`{prefix}-{8 hex of SHA-256("{user_id}:{name_seq}")}`, a name Fly accepts (lower case, digits, dashes, short)."""
    digest = hashlib.sha256(f"{user_id}:{name_seq}".encode()).hexdigest()
    return f"{prefix}-{digest[:8]}"


def machine_name(app: str) -> str:
    """The name of the app's machine. Deterministic, so Fly refuses a second create instead of making a second machine."""
    return f"{app}-main"


def installation_mark(installation_id: UUID) -> str:
    """The part of an installation's id that its network names carry."""
    return installation_id.hex[:12]


def network_name(installation_id: UUID, row_id: UUID) -> str:
    """The app's own 6PN network, which is our proof of ownership: Fly binds it to the app for good."""
    return f"hangar-{installation_mark(installation_id)}-{row_id.hex}"


def read_proof(network: str | None) -> Proof | None:
    """The proof in a network name; None if there is none, which means that the app is not ours and must not be touched."""
    match = _PROOF.fullmatch(network or "")
    return Proof(match[1], UUID(hex=match[2])) if match else None
