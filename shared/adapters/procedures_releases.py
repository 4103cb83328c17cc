"""The procedures that move releases on, by name and type. `Database` inherits them; those of operators are elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from shared.adapters.database import Caller
from shared.domain.models import Json


@dataclass(frozen=True)
class ReleaseLook:
    """A machine to look at for a release. `since`: when it was moved, which also names this attempt.

    `proof`: what its place as a canary asks for besides: "restart" if it is well now, "start" if it sleeps.
    """

    release: int
    row_id: UUID
    user_id: UUID
    app: str
    machine_id: str
    image: str | None
    version: str | None
    since: datetime
    since_text: str
    good_since: datetime | None
    on_demand: bool
    proof: Literal["restart", "start"] | None
    known_digest: str | None = None  # what Fly showed for the image to which the app goes back
    size: tuple[str, int, int] | None = None
    env_digest: str | None = None  # of the environment that Hangar sent


@dataclass(frozen=True)
class ReleaseStep:
    """What one call has moved on, by the database's time `now`. `active` is None while another worker is at it."""

    active: int | None
    moved: int
    looks: tuple[ReleaseLook, ...]
    now: datetime


class ReleaseProcedures(Caller):
    """What the sweep and the drain ask of releases."""

    def advance_releases(self, looks: int) -> ReleaseStep:
        """Move every release on by one step; at most `looks` machines to look at come back."""
        answer = self._call("fly_advance_releases", looks=looks)
        return ReleaseStep(
            active=answer["active"],
            moved=int(answer["moved"]),
            looks=tuple(map(_read_look, answer["looks"])),
            now=datetime.fromisoformat(answer["now"]),
        )

    def record_release_looks(self, looks: Sequence[Json]) -> int:
        """Write what was found on up to 500 machines; how many of the looks still counted."""
        return int(self._call("fly_record_release_looks", looks=list(looks))["recorded"])


def _read_look(raw: Json) -> ReleaseLook:
    return ReleaseLook(
        release=int(raw["release"]),
        row_id=UUID(raw["row_id"]),
        user_id=UUID(raw["user_id"]),
        app=raw["app"],
        machine_id=raw["machine_id"],
        image=raw["image"],
        version=raw["version"],
        since=datetime.fromisoformat(raw["since"]),
        since_text=raw["since"],
        good_since=datetime.fromisoformat(raw["good_since"]) if raw["good_since"] else None,
        on_demand=bool(raw["on_demand"]),
        proof=raw["proof"],
        known_digest=raw["known_digest"],
        size=tuple(raw["size"]),
        env_digest=raw["env_digest"],
    )
