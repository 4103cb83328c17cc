"""What the host's own write may cost, and which user it entitles: each guard alone, without timing."""

from concurrent.futures import ThreadPoolExecutor

import pytest


def test_a_row_that_hangar_holds_does_not_block_the_host(hangar):
    """I12: the host's write touches no row of ours, so a host without time-outs does not wait for a worker."""
    user = hangar.user("pro")
    host, holder = hangar.host(), hangar.connect(hangar.url)
    update = "update user_subscriptions set tier = 'elite' where user_id = %s"
    with ThreadPoolExecutor(1) as pool, holder.transaction():
        holder.execute("lock table public.user_fly_apps, hangar.settings, public.fly_plans in access exclusive mode")
        assert pool.submit(host.execute, update, (user,)).result(timeout=20).rowcount == 1
    assert hangar.one("select tier from user_subscriptions where user_id = %s", user) == "elite"


def test_a_deleted_user_has_no_grace(hangar):
    """A user who downgrades keeps the app for the plan's grace. A deleted user loses it at once."""
    hangar.sql("update fly_plans set grace_s = 3600 where tier = 'pro'")
    leaves, deleted = hangar.user("pro"), hangar.user("pro")
    hangar.subscribe(leaves, tier="free")
    hangar.sql("delete from auth.users where id = %s", deleted)
    hangar.follow()
    assert hangar.live_row(leaves)["delete_after"] is not None
    row = hangar.live_row(deleted)
    assert (row["desired_state"], row["delete_after"]) == ("absent", None)


@pytest.fixture
def several(hangar):
    """A host that keeps several subscriptions of a user, and other statuses than the sample host's."""
    hangar.sql("alter table user_subscriptions drop constraint user_subscriptions_user_id_key")
    hangar.sql("alter table user_subscriptions drop constraint user_subscriptions_status_check")
    return hangar


def add_subscription(hangar, user, status, days):
    hangar.sql(
        "insert into user_subscriptions (user_id, tier, status, expires_at)"
        " values (%s, 'pro', %s, now() + make_interval(days => %s))",
        user,
        status,
        days,
    )
    hangar.follow()


def test_of_several_rows_an_active_one_counts(several):
    """I5: another row that ends later and entitles to nothing takes no app away."""
    user = several.user("pro")
    several.sql("update user_subscriptions set expires_at = now() + interval '10 days' where user_id = %s", user)
    add_subscription(several, user, "unpaid", 20)
    assert several.live_row(user)["desired_state"] == "present"


def test_of_several_active_rows_the_one_without_end_counts(several):
    """I5: an active row that has ended does not hide one that never ends."""
    user = several.user("pro")
    add_subscription(several, user, "active", -1)
    assert several.live_row(user)["desired_state"] == "present"


def test_a_former_user_gets_an_app_again_while_hangar_is_not_live(installed):
    """I1: a user admitted once keeps being served; a new user waits until the installation is live."""
    former, stranger = installed.user("pro"), installed.user("pro")
    assert installed.row(former) is None
    installed.rpc("fly_admit", users=[former], actor="test")
    installed.subscribe(former, tier="free")
    installed.save(installed.lease(former), deleted=True)
    for user in (former, stranger):
        installed.subscribe(user, tier="elite")
    assert installed.live_row(former)["desired_state"] == "present"
    assert installed.row(stranger) is None
