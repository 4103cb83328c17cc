"""What the hosts of other people do to their subscriptions: several rows of a user, other words, rows that come and go."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.small_storm import SmallStorm

# Words of payment providers, of people, and of nobody.
STATUSES = (
    "active",
    "trialing",
    " Active",
    "ACTIVE",
    "canceled",
    "Cancelled ",
    "past_due",
    "unpaid",
    "paused",
    "incomplete",
    "expired",
    "wibble",
    "",
)
TIERS = ("free", "pro", "pro", "elite", "legacy", None)
_ENDS_S = (None, None, None, -60.0, 20.0, 900.0, 86400.0)


class ForeignHost:
    """The moves of such a host in one small world. A share of the worlds has one."""

    def __init__(self, storm: "SmallStorm") -> None:
        self.storm, self.chance = storm, storm.host

    def weigh_moves(self) -> dict[Callable[[], None], float]:
        return {
            self._set_word: 5,
            self._set_odd_tier: 3,
            self._add_row: 4,
            self._drop_row: 2,
            self._delete_and_insert: 3,
            self._merge_accounts: 0.7,
            self._empty_table: 0.3,
        }

    def _change(self, what: str, query: str, *params: object, user: object = None) -> None:
        self.storm.change(what, query, *params, nudged=[user] if user else ())

    def _set_word(self) -> None:
        user, word = self.storm.pick(), self.chance.choice(STATUSES)
        query = "update public.user_subscriptions set status = %s where user_id = %s"
        self._change(f"{user} has the status {word!r}", query, word, user, user=user)

    def _set_odd_tier(self) -> None:
        user, tier = self.storm.pick(), self.chance.choice(TIERS)
        query = "update public.user_subscriptions set tier = %s where user_id = %s"
        self._change(f"{user} has the tier {tier!r}", query, tier, user, user=user)

    def _add_row(self) -> None:
        user = self.storm.pick()
        tier, word, in_s = self.chance.choice(TIERS), self.chance.choice(STATUSES), self.chance.choice(_ENDS_S)
        query = (
            "insert into public.user_subscriptions (user_id, tier, status, expires_at) select id, %s, %s,"
            " hangar.now() + make_interval(secs => %s::double precision) from auth.users where id = %s"
        )
        self._change(f"{user} gets another row: {tier} {word!r} {in_s}", query, tier, word, in_s, user, user=user)

    def _drop_row(self) -> None:
        user = self.storm.pick()
        query = (
            "delete from public.user_subscriptions where id ="
            " (select id from public.user_subscriptions where user_id = %s"
            " order by tier, status, expires_at limit 1)"  # not by id, which is another one in each run
        )
        self._change(f"a row of {user} is deleted", query, user, user=user)

    def _delete_and_insert(self) -> None:
        """Some hosts write an update as two statements, with time between them."""
        user = self.storm.pick()
        self._change(
            f"all rows of {user} go", "delete from public.user_subscriptions where user_id = %s", user, user=user
        )
        self.storm.turns.run(self.storm.world.clock() + self.chance.choice((0.05, 1.0, 6.0, 40.0)))
        query = "insert into public.user_subscriptions (user_id, tier) select id, %s from auth.users where id = %s"
        self._change(f"{user} is back", query, self.chance.choice(("pro", "pro", "elite")), user, user=user)

    def _merge_accounts(self) -> None:
        one, other = self.storm.pick(), self.storm.pick()
        query = (
            "update public.user_subscriptions set user_id = %s where user_id = %s"
            " and exists (select 1 from auth.users where id = %s)"
        )
        self._change(f"the rows of {one} become those of {other}", query, other, one, other, user=other)

    def _empty_table(self) -> None:
        """A mistake: everything is gone, and comes back from the backup."""
        world = self.storm.world
        world.sql("create temporary table if not exists backup (like public.user_subscriptions)")
        world.sql("insert into backup select * from public.user_subscriptions")
        self._change("the table of subscriptions is emptied", "truncate public.user_subscriptions")
        self.storm.turns.run(world.clock() + self.chance.choice((1.0, 200.0, 4000.0)))
        query = (
            "insert into public.user_subscriptions select * from backup b"
            " where exists (select 1 from auth.users u where u.id = b.user_id) on conflict do nothing"
        )
        self._change("the subscriptions are restored", query)
        world.sql("delete from backup")

    def correct(self) -> None:
        """At the end the host corrects what nobody can read, and an operator confirms what is held."""
        world = self.storm.world
        world.sql("update public.user_subscriptions set status = 'active' where btrim(status) in ('', 'wibble')")
        world.sql("update public.user_subscriptions set tier = 'free' where tier is null or tier = 'legacy'")
        world.sql("select public.fly_sync_entitlements()")
        world.sql("select public.fly_release_brake('operator', 'calm')")
