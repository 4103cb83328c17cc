"""What the host's own write may cost: asked without a stop-watch."""


def test_after_one_time_out_the_rest_of_the_transaction_gives_way(hangar):
    """I12: one row that we hold costs one lock time-out; from there on even a free row is left to sync, which finds both."""
    held, free = hangar.user("pro"), hangar.user("pro")
    host, holder = hangar.connect(hangar.url, "postgres"), hangar.connect(hangar.url)
    with holder.transaction():
        holder.execute("select 1 from user_fly_apps where user_id = %s for update", (held,))
        with host.transaction():
            for user in (held, free):
                host.execute("update user_subscriptions set tier = 'elite' where user_id = %s", (user,))
    assert hangar.live_row(free)["tier"] == hangar.live_row(held)["tier"] == "pro"
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 2
    assert hangar.live_row(free)["tier"] == hangar.live_row(held)["tier"] == "elite"


def test_a_deleted_user_has_no_grace(hangar):
    """Whoever downgrades keeps the app for the plan's grace; whoever is deleted does not, from the first moment."""
    hangar.sql("update fly_plans set grace_s = 3600 where tier = 'pro'")
    leaves, deleted = hangar.user("pro"), hangar.user("pro")
    hangar.subscribe(leaves, tier="free")
    hangar.sql("delete from auth.users where id = %s", deleted)
    assert hangar.live_row(leaves)["delete_after"] is not None
    row = hangar.live_row(deleted)
    assert (row["desired_state"], row["delete_after"]) == ("absent", None)
