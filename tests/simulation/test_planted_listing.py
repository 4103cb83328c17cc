"""What a listing of the whole organisation may write to a row."""

from shared.domain.models import Row
from shared.fleet.inventory import Inventory, observe_listed


def have_app(world):
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    return Row.model_validate(world.row(user))


def test_an_app_in_an_unreadable_region_is_unknown(world):
    """error_regions: machines of that region are unknown even if listed, and that does not make a row due."""
    row = have_app(world)
    seen = observe_listed(row, Inventory(error_regions={row.machine_region}))
    assert seen is not None
    assert (seen.health, seen.due, seen.direct) == ("unknown", False, False)


def test_a_list_alone_writes_no_health(world):
    """Neither presence in the list nor absence from it is a health sample."""
    row = have_app(world)
    assert observe_listed(row, Inventory()) is None
    assert observe_listed(row, Inventory(error_regions={"nowhere"})) is None
