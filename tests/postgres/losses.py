"""What the tests of mass losses share: users with apps, Hangar's looks at the host, and what is held."""


def sign_up(hangar, count, tier="pro"):
    """So many users, each with an app."""
    users = hangar.sql(
        "insert into auth.users (email) select gen_random_uuid() || '@example.test' from generate_series(1, %s) returning id",
        count,
    )
    ids = [row["id"] for row in users]
    hangar.sql("update user_subscriptions set tier = %s where user_id = any(%s)", tier, ids)
    look(hangar)
    assert wanted(hangar, ids) == count
    return ids


def look(hangar):
    """A drain, and the sync that it asks for."""
    while (answer := hangar.rpc("fly_apply_marks"))["left"]:
        pass
    if answer["everybody"]:
        sync(hangar)


def sync(hangar):
    after = None
    while after := hangar.rpc("fly_sync_entitlements", after=after)["next"]:
        pass


def wanted(hangar, users):
    """How many of these users have an app that is desired."""
    return hangar.one(
        "select count(*) from user_fly_apps where user_id = any(%s) and deleted_at is null and desired_state = 'present'", users
    )  # fmt: skip


def held(hangar):
    """The counts of the open alert, which must agree with the state on record; None without one."""
    rows = hangar.sql("select metadata, message from hangar.alerts where kind = 'host_loss' and resolved_at is null")
    state = hangar.sql("select held_since, losing, present, reason from hangar.host_state")[0]
    assert (state["held_since"] is not None) == bool(rows)
    if not rows:
        return None
    told = rows[0]["metadata"]
    assert sum(told.pop("causes").values()) == told["losing"]
    assert told == {key: state[key] for key in ("losing", "present", "reason")}
    assert "hangar brake --release" in rows[0]["message"]
    return told


def lose(hangar, users):
    hangar.sql("delete from user_subscriptions where user_id = any(%s)", users)


def restore(hangar, users, tier="pro"):
    hangar.sql("insert into user_subscriptions (user_id, tier) select u, %s from unnest(%s::uuid[]) u", tier, users)
