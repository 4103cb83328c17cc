"""Limits of one run that nothing else enforces."""


def test_an_action_without_effect_is_made_three_times(world):
    """I7: Fly accepts the stop and the machine continues to run; the run ends with the reason on the row."""
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    world.fault(method="POST", path="/v1/apps/*/machines/*/stop", when="before", status=200, body={"ok": True})
    world.set_tier(user, "free")
    calls = world.watch_calls()
    world.reconciler.reconcile(user, 240)
    stops = [path for method, path in calls if method == "POST" and path.endswith("/stop")]
    assert (len(stops), world.row(user)["error_code"]) == (3, "no_progress")
