"""What the small worlds found, each as small as it gets."""

from dataclasses import replace


def test_a_new_machine_that_no_look_shows_yet_is_waited_for(world):
    """Fly names a machine and then answers 404 for it, by id and in its list, for seconds: nothing failed."""
    unkindness = replace(world.sim.world.unkindness, fresh_machine_lag_s=(3.0, 3.0), list_lag_s=(5.0, 5.0))
    world.sim.world.unkindness = unkindness
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    assert world.row(user)["status"] == "active"
    assert world.count_actions(user, "failed", "unknown") == 0
