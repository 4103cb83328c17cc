"""In which circumstances a use case of the matrix runs: hosts of other shapes, changes of the host, a wrong clock of Fly's.

None of them changes what the user is owed: the use case must end as it does without them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from tests.support.world import World

HOLD_S = 300
_DAY_S = 86_400
_CONSTRAINTS = ("user_id_key", "tier_check", "status_check")


@dataclass(frozen=True)
class Circumstance:
    """`begin` changes the starting point; `meanwhile` happens at the call of the case; `end` when the faults stop."""

    begin: Callable[[World, UUID, bool], None] | None = None
    meanwhile: Callable[[World, UUID], None] | None = None
    end: Callable[[World], None] | None = None


def _allow_any_rows(world: World) -> None:
    """The constraints of the sample host allow one row for each user, and few words. Other hosts have no such constraints."""
    for name in _CONSTRAINTS:
        world.sql(f"alter table public.user_subscriptions drop constraint if exists user_subscriptions_{name}")


def _insert(world: World, user: UUID, tier: str, status: str, in_s: float | None) -> None:
    world.sql(
        "insert into public.user_subscriptions (id, user_id, tier, status, expires_at)"
        " select %s, id, %s, %s, hangar.now() + make_interval(secs => %s::double precision) from auth.users where id = %s",
        *(world.make_id(), tier, status, in_s, user),
    )


def _add_rows(world: World, user: UUID, entitled: bool) -> None:
    """Rows that deny stand before and after the one that counts."""
    _allow_any_rows(world)
    for row in (
        ("elite", "expired", None),
        ("pro", "canceled", -_DAY_S),
        ("free", "active", None),
        ("elite", "active", -60.0),
    ):
        _insert(world, user, *row)
    if entitled:  # the row that counts becomes the last one
        world.sql("update public.user_subscriptions set updated_at = now() where user_id = %s and tier = 'pro'", user)


def _use_other_words(world: World, user: UUID, entitled: bool) -> None:
    _allow_any_rows(world)
    query = "update public.user_subscriptions set status = %s, expires_at = hangar.now() + interval '30 days' where user_id = %s"
    world.sql(query, " Trialing\t" if entitled else "ACTIVE ", user)
    if not entitled and world.rewind.upon is None:
        # A plan that the user could have, and a word that denies it.
        query = "update public.user_subscriptions set tier = 'pro', status = 'Canceled ', expires_at = null where user_id = %s"
        world.sql(query, user)


def _use_naive_times(world: World, user: UUID, entitled: bool) -> None:
    """Read in the zone of the session, the end would be on the other side of now."""
    _allow_any_rows(world)
    world.sql("alter table public.user_subscriptions alter expires_at type timestamp(3) using null")
    now = world.clock()
    if entitled:
        world.sql("set timezone = 'Asia/Tokyo'")
        ends = now + 8.5 * 3600
    else:
        world.sql("set timezone = 'America/Los_Angeles'")
        ends = now - 3600
    naive = datetime.fromtimestamp(ends, UTC).replace(tzinfo=None)
    if entitled or world.rewind.upon is None:
        tier = "tier" if entitled else "'pro'"
        world.sql(
            f"update public.user_subscriptions set tier = {tier}, expires_at = %s where user_id = %s", naive, user
        )


def _hold_removals(world: World, _user: UUID, _entitled: bool) -> None:
    """From now on a loss begins with a removal hold, so that a row that comes back finds its machine."""
    world.sql("update hangar.settings set removal_hold_s = %s", HOLD_S)


def _keep_rows(world: World, where: str, *params: object) -> None:
    world.sql("drop table if exists pg_temp.kept_rows")
    world.sql(f"create temporary table kept_rows as select * from public.user_subscriptions {where}", *params)


def _restore_rows(world: World) -> None:
    world.sql(
        "insert into public.user_subscriptions select * from pg_temp.kept_rows k"
        " where exists (select 1 from auth.users u where u.id = k.user_id) on conflict do nothing"
    )


def _delete_and_insert(world: World, user: UUID) -> None:
    _keep_rows(world, "where user_id = %s", user)
    world.sql("delete from public.user_subscriptions where user_id = %s", user)
    world.clock.advance(3.0)
    _restore_rows(world)


def _empty_and_restore(world: World, _user: UUID) -> None:
    _keep_rows(world, "")
    world.sql("truncate public.user_subscriptions")
    world.sql("select public.fly_sync_entitlements()")
    world.clock.advance(60.0)
    _restore_rows(world)


def _move_to_another_user_and_back(world: World, user: UUID) -> None:
    _allow_any_rows(world)
    [other] = world.add_users(["free"])
    world.sql("delete from public.user_subscriptions where user_id = %s", other)
    world.sql("update public.user_subscriptions set user_id = %s where user_id = %s", other, user)
    world.clock.advance(3.0)
    if world.sql("select 1 from auth.users where id = %s", user):
        world.sql("update public.user_subscriptions set user_id = %s where user_id = %s", user, other)


def _use_unknown_word(world: World, user: UUID) -> None:
    """The host writes a status that has no rule. Nobody knows meanwhile what the user is entitled to."""
    _allow_any_rows(world)
    world.sql("update public.user_subscriptions set status = 'wibble' where user_id = %s and status = 'active'", user)


def _correct_word(world: World) -> None:
    world.sql("update public.user_subscriptions set status = 'active' where status = 'wibble'")


def _rename_plan(world: World, _user: UUID) -> None:
    """Nobody knows meanwhile what the user is entitled to."""
    world.sql("update public.fly_plans set tier = 'pro of 2027' where tier = 'pro'")
    world.sql("select public.fly_sync_entitlements()")


def _name_plan_back(world: World) -> None:
    world.sql("update public.fly_plans set tier = 'pro' where tier = 'pro of 2027'")
    world.sql("select public.fly_sync_entitlements()")


def _skew(seconds: int) -> Callable[[World, UUID, bool], None]:
    def begin(world: World, _user: UUID, _entitled: bool) -> None:
        world.control("PUT", "clock", {"skew_s": seconds})

    return begin


PLAIN = "plain"
CIRCUMSTANCES: dict[str, Circumstance] = {
    PLAIN: Circumstance(),
    "several rows": Circumstance(_add_rows),
    "other words": Circumstance(_use_other_words),
    "naive times": Circumstance(_use_naive_times),
    "deleted and inserted meanwhile": Circumstance(_hold_removals, _delete_and_insert),
    "emptied and restored meanwhile": Circumstance(_hold_removals, _empty_and_restore),
    "moved to another user and back": Circumstance(_hold_removals, _move_to_another_user_and_back),
    "unknown word meanwhile": Circumstance(None, _use_unknown_word, _correct_word),
    "plan renamed meanwhile": Circumstance(None, _rename_plan, _name_plan_back),
    "Fly's clock is ahead": Circumstance(_skew(720)),
    "Fly's clock is behind": Circumstance(_skew(-720)),
}
