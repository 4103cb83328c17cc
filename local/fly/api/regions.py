"""Fly's regions, and the choice of a machine's region.

Codes, names and places: Fly's list of regions, November 2026. A machine's region may be one code or a list in order
of preference with the aliases of `ALIASES` (docs "Machine placement").
"""

from local.fly.api.calls import Call
from local.fly.errors import FlyError, answer
from local.fly.state.model import App
from local.fly.state.state import RegionState, World
from local.http_server import Response

DEFAULT_REGION = "iad"

_COLUMNS = ("code", "name", "latitude", "longitude", "geo_region")
_EVERYWHERE = {"deprecated": False, "gateway_available": True, "requires_paid_plan": False, "mpg_available": False}
_ROWS = (
    ("ams", "Amsterdam, Netherlands", 52.37, 4.90, "europe"),
    ("arn", "Stockholm, Sweden", 59.65, 17.92, "europe"),
    ("cdg", "Paris, France", 48.86, 2.35, "europe"),
    ("dfw", "Dallas, Texas (US)", 32.78, -96.81, "north_america"),
    ("ewr", "Secaucus, NJ (US)", 40.79, -74.06, "north_america"),
    ("fra", "Frankfurt, Germany", 50.11, 8.68, "europe"),
    ("gru", "Sao Paulo, Brazil", -23.55, -46.63, "south_america"),
    ("hkg", "Hong Kong, Hong Kong", 22.25, 114.20, "asia_pacific"),
    ("iad", "Ashburn, Virginia (US)", 39.02, -77.54, "north_america"),
    ("jnb", "Johannesburg, South Africa", -26.13, 28.23, "africa"),
    ("lax", "Los Angeles, California (US)", 33.94, -118.41, "north_america"),
    ("lhr", "London, United Kingdom", 51.52, -0.06, "europe"),
    ("nrt", "Tokyo, Japan", 35.62, 139.75, "asia_pacific"),
    ("ord", "Chicago, Illinois (US)", 41.89, -87.64, "north_america"),
    ("sin", "Singapore, Singapore", 1.30, 103.85, "asia_pacific"),
    ("sjc", "San Jose, California (US)", 37.35, -121.96, "north_america"),
    ("syd", "Sydney, Australia", -33.87, 151.21, "asia_pacific"),
    ("yyz", "Toronto, Canada", 43.64, -79.43, "north_america"),
)
CODES = tuple(row[0] for row in _ROWS)
_US = ("dfw", "ewr", "iad", "lax", "ord", "sjc")


def _geo(name: str) -> tuple[str, ...]:
    return tuple(row[0] for row in _ROWS if row[4] == name)


ALIASES = {
    "any": CODES,
    "us": _US,
    "usa": _US,
    "na": _geo("north_america"),
    "eu": _geo("europe"),
    "sa": _geo("south_america"),
    "apac": _geo("asia_pacific"),
}


def place(world: World, app: App, wanted: str | None, memory_mb: int) -> str:
    """The first region in order of preference that has room.

    400 for a region that does not exist. When no region has room: 403 with Fly's text if a quota is the reason, else
    422 `insufficient_capacity`.
    """
    quota: FlyError | None = None
    for part in (wanted or DEFAULT_REGION).split(","):
        code = part.strip()
        if code not in ALIASES and code not in CODES:
            raise FlyError(400, f"invalid_argument: unknown region '{code}'")
        for region in ALIASES.get(code, (code,)):
            state = world.regions.get(region, RegionState())
            if state.full:
                continue
            if state.quota_mb is None:
                return region
            used = _memory_used_mb(world, app.org_slug, region)
            if used + memory_mb <= state.quota_mb:
                return region
            quota = FlyError(
                403,
                f'organization "{app.org_slug}" is using {used} MB of memory in {region} which is over the allowed '
                "quota. please consider other regions",
            )
    raise quota or FlyError(422, "could not find a candidate host", "insufficient_capacity")


def _memory_used_mb(world: World, org_slug: str, region: str) -> int:
    return sum(
        machine.config["guest"]["memory_mb"]
        for machine in world.machines.values()
        if machine.region == region and machine.app.org_slug == org_slug and machine.state != "destroyed"
    )


def list_regions(_world: World, _call: Call) -> Response:
    """`GET /v1/platform/regions`."""
    regions = [dict(zip(_COLUMNS, row, strict=True)) | _EVERYWHERE for row in _ROWS]
    return answer({"nearest": DEFAULT_REGION, "regions": regions})
