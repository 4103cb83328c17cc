"""Where one run creates a machine: the next region of the row's list that is not known to be full, or why none is left."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared.domain.actions import Action
from shared.domain.errors import Capacity
from shared.domain.models import Json, Row
from shared.domain.regions import choose_region, split_preference

if TYPE_CHECKING:
    from shared.reconcile.lease import LeasedApp

# What Fly says of one region. A full host of an existing machine is not among them: that machine stays where it is.
_OF_A_REGION = {"region_full", "quota"}


@dataclass
class Placement:
    """The regions that Fly has called full in this run, with its words."""

    full: dict[str, Capacity] = field(default_factory=dict)

    def choose(self, action: Action, row: Row, now: datetime) -> Action:
        """The create with its region. Raises Capacity, which names each region of the list, when none is left to ask."""
        remembered = {each.region: each.until for each in row.full_regions if each.until > now}
        region = choose_region(row.region, remembered, self.full)
        if region is None:
            raise self._explain(row, now)
        return replace(action, region=region)

    def note_full(self, lease: "LeasedApp", region: str, error: Capacity) -> bool:
        """Remember, with the next save, that Fly has no room there; False if the error says nothing about a region."""
        if error.code not in _OF_A_REGION:
            return False
        self.full[region] = error
        lease.learn({"region_capacity": {"region": region, "full": True, "message": error.message}})
        return True

    def note_room(self, lease: "LeasedApp", region: str) -> None:
        """Fly has room in a region that was remembered as full: forget that."""
        if any(each.region == region for each in lease.row.full_regions):
            found: Json = {"region": region, "full": False}
            lease.learn({"region_capacity": found})

    def _explain(self, row: Row, now: datetime) -> Capacity:
        since = {
            each.region: f"full since {each.full_since.astimezone(UTC):%H:%M} UTC"
            for each in row.full_regions
            if each.until > now
        }
        words = [
            f"{word}: {self.full[word].message if word in self.full else since.get(word, 'not asked')}"
            for word in split_preference(row.region)
        ]
        codes = {error.code for error in self.full.values()}
        last = next(reversed(self.full.values()))
        return Capacity(
            f"no region of the list {row.region} has room for the machine of {row.fly_app_name}. {'; '.join(words)}",
            code="quota" if codes == {"quota"} else "region_full",
            advice=f"{last.advice}. A machine is never placed outside the list" if len(words) == 1 else last.advice,
            status=last.status,
            fly_request_id=last.fly_request_id,
        )
