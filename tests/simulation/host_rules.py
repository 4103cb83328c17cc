"""What the host and the operators may do in the state machine: every shape of subscriptions that real hosts have."""

from datetime import UTC, datetime

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, precondition, rule

from tests.simulation.model import UNREADABLE, Subscription

users = Bundle("users")
GROWS_TO, MOST_ROWS = 5, 3
TIERS = st.sampled_from(["free", "pro", "elite", "pro", "elite", "legacy", None])
STATUSES = st.sampled_from(
    [
        *("active", "cancelled", "past_due", "trialing", " Active", "ACTIVE\t", "canceled", "Canceled "),
        *("unpaid", "paused", "incomplete", "expired", "wibble", ""),
    ]
)
GOOD = st.sampled_from(["active", "trialing", " Active"])
SPANS_S = st.sampled_from([None, None, -60.0, 300.0, 1500.0, 9000.0, UNREADABLE])
# The type of the host's column of ends, and the time zone of its sessions.
END_COLUMNS = st.sampled_from(
    [
        ("timestamp(3)", "Asia/Tokyo"),
        ("timestamp(3)", "America/Los_Angeles"),
        ("timestamptz", "UTC"),
        ("timestamptz", "Asia/Tokyo"),
        ("text", "UTC"),
        ("text", "America/Los_Angeles"),
    ]
)
TEXT_FORMS = ("{0:%Y-%m-%dT%H:%M:%SZ}", "{0:%Y-%m-%d %H:%M:%S}", " {1:.0f}", "{2:.0f}", "{0:%Y-%m-%dT%H:%M:%S+00:00}")
UNREADABLE_TEXTS = ("soon", "31/12/2026", "never")


class HostRules:
    """Statements of the host. `ends_are` is the type of its column of end dates."""

    ends_are = "timestamptz"

    def write_end(self, ends):
        """The value that this host writes for an end date. A host whose column is a time cannot write an unreadable one."""
        if ends is None:
            return None
        if ends == UNREADABLE:
            return UNREADABLE_TEXTS[len(self.world.boundaries.trace) % len(UNREADABLE_TEXTS)]
        moment = datetime.fromtimestamp(ends, UTC)
        if self.ends_are == "timestamptz":
            return moment
        if self.ends_are == "text":
            form = TEXT_FORMS[int(ends) % len(TEXT_FORMS)]
            return form.format(moment, ends, ends * 1000)
        return moment.replace(tzinfo=None)

    def end_after(self, span_s):
        """The end date that a draw means: whole seconds, so that every way of writing it is the same moment."""
        if span_s == UNREADABLE:
            return UNREADABLE if self.ends_are == "text" else None
        return None if span_s is None else float(int(self.now + span_s))

    def look(self, *changed):
        """Hangar has followed a statement about these users."""
        self.model.look(self.now, [self.model.users[user] for user in changed], sees_hold=self.sees_hold)

    def sync(self):
        """The wake-up call for a change that names no user: Hangar looks at everybody."""
        now = self.now
        self.world.sql("select public.fly_sync_entitlements()")
        self.model.look(now, sees_hold=self.sees_hold)

    def _write(self, user, number, **values):
        """One statement about one row of the user, if there is one."""
        told = self.model.users[user]
        if told.rows:
            key = sorted(told.rows, key=str)[number % len(told.rows)]
            row = told.rows[key]
            for name, value in values.items():
                setattr(row, name, value)
            query = "update public.user_subscriptions set tier = %s, status = %s, expires_at = %s where id = %s"
            self.world.sql(query, row.tier, row.status, self.write_end(row.ends), key)
            self.look(user)

    def insert(self, user, row):
        """Insert a row of a user who exists."""
        key = self.world.make_id()
        self.model.users[user].rows[key] = row
        self.world.sql(
            "insert into public.user_subscriptions (id, user_id, tier, status, expires_at) values (%s, %s, %s, %s, %s)",
            *(key, user, row.tier, row.status, self.write_end(row.ends)),
        )
        self.look(user)

    @precondition(lambda self: len(self.model.users) < GROWS_TO)
    @rule(target=users, tier=st.sampled_from(["free", "pro", "elite"]))
    def sign_up(self, tier):
        return self.sign_up_as(tier)

    @rule(user=users, number=st.integers(0, 2), tier=TIERS)
    def take_tier(self, user, number, tier):
        self._write(user, number, tier=tier)

    @rule(user=users, number=st.integers(0, 2), status=STATUSES)
    def take_status(self, user, number, status):
        self._write(user, number, status=status)

    @rule(user=users, number=st.integers(0, 2), span_s=SPANS_S)
    def expire(self, user, number, span_s):
        self._write(user, number, ends=self.end_after(span_s))

    @rule(user=users, tier=st.sampled_from(["pro", "elite"]), status=GOOD)
    def pay(self, user, tier, status):
        """The first row is well again, so that paying users stay frequent."""
        self._write(user, 0, tier=tier, status=status, ends=None)

    @rule(user=users, tier=TIERS, status=STATUSES, span_s=SPANS_S)
    def add_row(self, user, tier, status, span_s):
        told = self.model.users[user]
        if not told.deleted and len(told.rows) < MOST_ROWS:
            self.insert(user, Subscription(tier, status, self.end_after(span_s)))

    @rule(user=users, number=st.integers(0, 2))
    def drop_row(self, user, number):
        told = self.model.users[user]
        if told.rows:
            key = sorted(told.rows, key=str)[number % len(told.rows)]
            del told.rows[key]
            self.world.sql("delete from public.user_subscriptions where id = %s", key)
            self.look(user)

    @rule(
        user=users,
        tier=st.sampled_from(["pro", "elite"]),
        gap_s=st.sampled_from([0.1, 3.0, 40.0, 250.0]),
        works=st.sampled_from(["nothing", "nudge", "drain"]),
    )
    def delete_and_insert(self, user, tier, gap_s, works):
        """Some hosts write an update as two statements. Work between them meets a user without a subscription."""
        told = self.model.users[user]
        told.rows.clear()
        self.world.sql("delete from public.user_subscriptions where user_id = %s", user)
        self.look(user)
        self.world.clock.advance(gap_s)
        self.watch()
        if works != "nothing":
            self.work_between(user, drain=works == "drain")
            self.watch()
        if not told.deleted:
            self.insert(user, Subscription(tier))

    @rule(one=users, other=users)
    def merge_accounts(self, one, other):
        """The rows of one user become those of another."""
        source, target = self.model.users[one], self.model.users[other]
        if source is not target and not target.deleted:
            target.rows |= source.rows
            source.rows.clear()
            self.world.sql("update public.user_subscriptions set user_id = %s where user_id = %s", other, one)
            self.look(one, other)

    @rule(
        how=st.sampled_from(["truncate public.user_subscriptions", "delete from public.user_subscriptions"]),
        gap_s=st.sampled_from([1.0, 400.0, 4000.0]),
        works=st.booleans(),
        ends=st.sampled_from(["restored", "confirmed", "restored"]),
    )
    def empty_table(self, how, gap_s, works, ends):
        """Everything is gone. The rows come back from a backup, or an operator confirms the loss before they do."""
        backup = {user: dict(told.rows) for user, told in self.model.users.items()}
        for told in self.model.users.values():
            told.rows.clear()
        with self.world.host.transaction():
            self.world.host.execute(how)
        self.sync()
        self.check_hold()
        self.world.clock.advance(gap_s)
        self.watch()
        if works:
            self.sweep_whole()
            self.watch()
        if ends == "confirmed":
            self._confirm_losses()
            self.watch()
        for user, rows in backup.items():
            for row in rows.values():
                if not self.model.users[user].deleted:
                    self.insert(user, row)

    @rule(
        tier=st.sampled_from(["free", "pro"]),
        status=st.sampled_from(["active", "expired", "wibble"]),
        ends=st.booleans(),
    )
    def write_every_row(self, tier, status, ends):
        self.write_all(tier, status, ends=ends)

    def write_all(self, tier, status, *, ends=False):
        """One statement without WHERE."""
        at = self.end_after(9000.0) if ends else None
        for told in self.model.users.values():
            for row in told.rows.values():
                row.tier, row.status, row.ends = tier, status, at
        query = "update public.user_subscriptions set tier = %s, status = %s, expires_at = %s"
        self.world.sql(query, tier, status, self.write_end(at))
        self.look(*self.model.users)
        self.check_hold()

    def make_mistake(self, tier, status):
        """One statement without WHERE, which stands until everything is at rest. Then the host corrects each row."""
        before = [
            (row, row.tier, row.status, row.ends) for told in self.model.users.values() for row in told.rows.values()
        ]
        self.write_all(tier, status)
        self.settle_now()
        for row, *values in before:
            row.tier, row.status, row.ends = values
        for user, told in self.model.users.items():
            for number in range(len(told.rows)):
                self._write(user, number)

    @rule()
    def confirm_losses(self):
        self._confirm_losses()

    def _confirm_losses(self):
        """An operator releases the brake, which confirms losses that are held."""
        self.world.sql("select public.fly_release_brake('operator', 'checked')")
        self.model.confirm()
        self.sync()

    @rule(name=st.sampled_from(["pro", "elite"]))
    def rename_plan(self, name):
        """An operator renames a plan, or names it back. The host's rows keep the old word until somebody corrects them."""
        old, new = (name, f"{name} 2") if name in self.model.plans else (f"{name} 2", name)
        if all(old != told.word_plan for told in self.model.users.values()):
            self.model.plans[new] = self.model.plans.pop(old)
            self.world.sql("update public.fly_plans set tier = %s where tier = %s", new, old)
            self.sync()

    @rule(user=users)
    def delete_account(self, user):
        told = self.model.users[user]
        told.rows.clear()
        told.deleted = True
        self.world.sql("delete from auth.users where id = %s", user)
        self.look(user)

    @rule(
        user=users,
        word=st.sampled_from([None, "grant", "deny"]),
        plan=st.integers(0, 1),
        span_s=st.sampled_from([None, 300.0, 9000.0]),
    )
    def override(self, user, word, plan, span_s):
        told = self.model.users[user]
        names = sorted(name for name, each in self.model.plans.items() if each.dedicated)
        until = None if span_s is None or word is None else self.now + span_s
        told.word, told.word_plan = word, names[plan] if word == "grant" else None
        told.word_until = until or float("inf")
        ends_at = until and datetime.fromtimestamp(until, UTC)
        query = "select public.fly_set_override(%s, %s, %s, 'op', 'model', %s)"
        self.world.sql(query, user, word, told.word_plan, ends_at)
        self.look(user)
