"""What a listing of the whole organisation allows to be written down, and what not."""

from shared.domain.models import Row
from shared.fleet.inventory import Inventory, observe_listed


def have_app(world):
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    return Row.model_validate(world.row(user))


def test_an_app_in_an_unreadable_region_is_unknown(world):
    """error_regions: whatever the list still shows of that region, nobody knows how it is; and it is not due for that."""
    row = have_app(world)
    seen = observe_listed(row, Inventory(error_regions={row.machine_region}))
    assert seen is not None
    assert (seen.health, seen.due, seen.direct) == ("unknown", False, False)


def test_a_list_alone_writes_no_health(world):
    """Neither an app's presence in the list nor its absence says how it is."""
    row = have_app(world)
    assert observe_listed(row, Inventory()) is None
    assert observe_listed(row, Inventory(error_regions={"nowhere"})) is None
