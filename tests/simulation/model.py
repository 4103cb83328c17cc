"""What Hangar owes each user, by the rules of docs/host-binding.md and docs/reliability.md in plain Python.

Nothing of the product is imported. Times are seconds of one clock. Hangar learns at once of a change that a statement made.
It learns at its next look of a change that time alone made, so the moments that follow from it have an earliest and a
latest value.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

NEVER = float("inf")
UNREADABLE = "an end that cannot be read"
# The meaning of each word: "entitled" until the end, if there is one; "until_end" not without an end; "no" never.
WORDS = {
    **dict.fromkeys(("active", "trialing", "past_due"), "entitled"),
    **dict.fromkeys(("cancelled", "canceled"), "until_end"),
    **dict.fromkeys(("unpaid", "paused", "expired", "incomplete", "incomplete_expired"), "no"),
}
LOSS_FLOOR, LOSS_SHARE = 2, 0.5
"""More losses at once than this number, and than this share of all apps, wait for an operator."""


@dataclass(frozen=True)
class Plan:
    """What a tier includes. Among several subscriptions that entitle, `place` decides: the highest rank, price and memory."""

    dedicated: bool
    grace_s: float
    memory_mb: int
    place: tuple[float, float]


@dataclass
class Subscription:
    """One row of the host."""

    tier: str | None
    status: str = "active"
    ends: float | str | None = None

    @property
    def word(self) -> str:
        return self.status.strip().lower()


@dataclass
class User:
    """One user as the host, the operator and Hangar have them."""

    rows: dict[object, Subscription] = field(default_factory=dict)
    word: str | None = None
    word_plan: str | None = None
    word_until: float = NEVER
    deleted: bool = False
    plan: Plan | None = None
    """What Hangar last knew that the user is entitled to. None: nothing."""
    seen_at: float = 0.0
    due_since: float | None = None
    """Since when a loss that had been held for an operator may be obeyed."""
    lost_since: float | None = None
    """A process that may have died may have noticed a loss, and may have begun to act on it, at this moment or later."""
    runs_until: tuple[float, float] | None = None
    """After a loss: the removal hold ends between these two. The machine runs until then, and the plan's grace follows."""
    grace_s: tuple[float, float] = (0.0, 0.0)
    """The grace of the plan that Hangar knew last: between these two, if time changed the plan before the loss."""
    has_app: bool = False
    """Whether an app was found when everything was last at rest."""
    is_hurt: bool = False
    """Whether somebody, or the end of an earlier hold, has stopped or changed the machine since. A hold does not start it."""
    is_held: bool = False
    """Certainly one of the users whose loss waits for an operator."""

    def times(self) -> list[float]:
        """The moments at which time alone changes something."""
        ends = [row.ends for row in self.rows.values() if isinstance(row.ends, float)]
        return [*ends, self.word_until]


@dataclass
class Model:
    """All users and plans. `look` is what Hangar does after each statement of the host, and in each sweep."""

    plans: dict[str, Plan]
    hold_s: float = 0.0
    users: dict[object, User] = field(default_factory=dict)
    held: bool = False
    """Losses wait for an operator. This ends when nobody loses anything any more, or when an operator confirms them."""
    confirmed: bool = False
    """An operator has confirmed losses, and no look at everybody has found since that none is left."""

    # Entitlement

    def judge_row(self, row: Subscription, now: float) -> str:
        """What one subscription says: yes, no or unknown. A definite no comes before everything that is unknown."""
        rule, plan = WORDS.get(row.word), self.plans.get(row.tier or "")
        if rule == "no" or (plan and not plan.dedicated):
            return "no"
        if rule is None or row.ends == UNREADABLE:
            return "unknown"
        if (row.ends is None and rule == "until_end") or (row.ends is not None and row.ends <= now):
            return "no"
        return "yes" if plan else "unknown"

    def judge(self, user: User, now: float) -> tuple[str, Plan | None]:
        """Whether the user is entitled now, and to which plan: the operator's word, then the best of the subscriptions."""
        if user.word and now < user.word_until:
            return ("no", None) if user.word == "deny" else ("yes", self.plans[user.word_plan or ""])
        if user.deleted:
            return "no", None
        answers = [(self.judge_row(row, now), row) for row in user.rows.values()]
        entitling = [self.plans[row.tier or ""] for answer, row in answers if answer == "yes"]
        if entitling:
            return "yes", max(entitling, key=lambda plan: plan.place)
        return ("unknown" if any(answer == "unknown" for answer, _ in answers) else "no"), None

    # What Hangar knows

    def look(self, now: float, changed: Iterable[User] | None = None, *, sees_hold: Callable[[], bool]) -> None:
        """Hangar looks at these users, or at everybody. `sees_hold` says whether losses are held if the rules leave it open."""
        held_before = self.held
        self.held = self._find_hold(now, None if changed is None else list(changed), sees_hold)
        for user in self.users.values():
            if self.held or changed is None or any(user is each for each in changed):
                self._notice(user, now)
            elif held_before and self._loses(user, now):
                user.due_since = now
            if not self.held:
                user.is_held = False
            elif self._loses(user, now) and not self.confirmed and not self.in_doubt(user, now):
                user.is_held = True

    def may_have_looked(self, now: float) -> None:
        """A process has worked, and nobody knows at whom it looked before it ended or died."""
        for user in self.users.values():
            if not self.held and self.in_doubt(user, now):
                moments = (user.lost_since, self._ended_at(user, now), user.due_since)
                user.lost_since = min(moment for moment in moments if moment is not None)
                graces = [*user.grace_s, *(plan.grace_s for plan in self._plans_since(user, now))]
                user.grace_s = min(graces), max(graces)

    def confirm(self) -> None:
        """An operator confirms the losses that are held."""
        self.confirmed, self.held = self.confirmed or self.held, False
        for user in self.users.values():
            user.is_held = False

    def in_doubt(self, user: User, now: float) -> bool:
        """Whether time took something away that Hangar may or may not have noticed yet."""
        if user.lost_since is not None:
            return True
        return self._loses(user, now) and (user.due_since is not None or self._ended_at(user, now) is not None)

    def _find_hold(self, now: float, changed: list[User] | None, sees_hold: Callable[[], bool]) -> bool:
        if self.held and any(user.is_held and self._is_missed(user, now) for user in self.users.values()):
            return True
        if self.confirmed or any(self.in_doubt(user, now) or self._is_kept(user, now) for user in self.users.values()):
            if changed is None and not any(self._loses(user, now) for user in self.users.values()):
                self.confirmed = False
            return sees_hold()
        present = [user for user in self.users.values() if user.plan]
        if self.held:
            return any(self._loses(user, now) for user in present)
        looked_at = present if changed is None else [user for user in present if any(user is each for each in changed)]
        losing = sum(self._loses(user, now) for user in looked_at)
        emptied = not any(user.rows for user in self.users.values())
        return (emptied and losing == len(present) and losing >= 2) or (
            losing > LOSS_FLOOR and losing > LOSS_SHARE * len(present)
        )

    def is_denied(self, user: User, now: float) -> bool:
        return user.word == "deny" and now < user.word_until

    def _loses(self, user: User, now: float) -> bool:
        """Whether the user still has an app and should not; one whom the operator denies is never held."""
        return user.plan is not None and self.judge(user, now)[0] == "no" and not self.is_denied(user, now)

    def _is_missed(self, user: User, now: float) -> bool:
        """Whether a held user is not back: with an app that no operator has denied, and not known to be entitled."""
        return user.plan is not None and self.judge(user, now)[0] != "yes" and not self.is_denied(user, now)

    def _is_kept(self, user: User, now: float) -> bool:
        """Whether a deleted user had left before, and the app may be kept: while losses are held, a deletion ends no grace."""
        if not (self.held and user.deleted and user.plan is None and user.runs_until):
            return False
        return now < user.runs_until[1] + user.grace_s[1]

    def _ended_at(self, user: User, now: float) -> float | None:
        """The first moment since the last look at which time changed something."""
        return min((end for end in user.times() if user.seen_at < end <= now), default=None)

    def _plans_since(self, user: User, now: float) -> list[Plan]:
        """The plans that the user had for a while since the last look, because time ended a better one."""
        plans = [self.judge(user, end)[1] for end in user.times() if user.seen_at < end <= now]
        return [plan for plan in plans if plan]

    def _notice(self, user: User, now: float) -> None:
        answer, plan = self.judge(user, now)
        if answer == "unknown" or (answer == "no" and self.held and user.plan and not self.is_denied(user, now)):
            return
        at_once = user.deleted or self.is_denied(user, now)
        is_kept = self._is_kept(user, now)
        if is_kept and not self.is_denied(user, now):
            return
        if plan:
            user.plan, user.runs_until, user.grace_s = plan, None, (plan.grace_s, plan.grace_s)
        elif user.plan:
            moments = (self._ended_at(user, now), user.due_since, user.lost_since, now)
            earliest = min(moment for moment in moments if moment is not None)
            hold_s = 0.0 if at_once else self.hold_s
            graces = [user.plan.grace_s, *user.grace_s, *(plan.grace_s for plan in self._plans_since(user, now))]
            user.grace_s = min(graces), max(graces)
            user.plan, user.runs_until = None, (earliest + hold_s, now + hold_s)
        elif user.runs_until and at_once:
            user.runs_until = (min(user.runs_until[0], now), min(user.runs_until[1], now))
        if user.deleted and not plan and not is_kept:
            user.grace_s = (0.0, 0.0)
        user.seen_at, user.due_since, user.lost_since = now, None, None

    # What is owed

    def runs_at_least_until(self, user: User, now: float) -> float:
        """Until when nobody may stop the user's machine, as far as is known now."""
        answer, _ = self.judge(user, now)
        if user.plan and user.lost_since is not None and answer != "yes":
            return user.lost_since + (0.0 if user.deleted or self.is_denied(user, now) else self.hold_s)
        if user.plan and (answer != "no" or (self.held and not self.is_denied(user, now))):
            return NEVER
        if user.plan is None:
            return user.runs_until[0] if user.runs_until else 0.0
        ended = [time for time in (self._ended_at(user, now), user.due_since) if time is not None]
        return min(ended, default=now) + (0.0 if user.deleted or self.is_denied(user, now) else self.hold_s)

    def exists_at_least_until(self, user: User, now: float) -> float:
        """Until when nobody may delete the user's app: the grace comes after the hold. Nothing goes while nobody knows."""
        if user.runs_until and self.judge(user, now)[0] == "unknown":
            return NEVER
        graces = [user.grace_s[0], *(plan.grace_s for plan in self._plans_since(user, now))]
        return self.runs_at_least_until(user, now) + (0.0 if user.deleted else min(graces))

    def owed_at(self, user: User, now: float) -> set[str]:
        """What may be found on Fly after a sweep: "runs", "stopped" (kept in grace), "nothing"."""
        answer, _ = self.judge(user, now)
        if user.plan:
            return {"runs", "stopped", "nothing"} if user.lost_since is not None and answer != "yes" else {"runs"}
        if user.runs_until is None:
            return {"nothing"}
        if answer == "unknown":
            return {"runs", "stopped", "nothing"}
        earliest, latest = user.runs_until
        owed = set()
        if now < latest:
            owed |= {"runs", "stopped"} if user.is_hurt or not user.has_app else {"runs"}
        if earliest <= now < latest + user.grace_s[1]:
            owed |= {"stopped"}
        if now >= earliest + user.grace_s[0] or not user.has_app:
            owed |= {"nothing"}
        return owed

    # Alerts

    def name_unknown(self, row: Subscription) -> set[tuple[str, str]]:
        """The alerts that may name what is unknown about this row, by kind and key."""
        named = set()
        if row.word not in WORDS:
            named.add(("unknown_status", row.word or "null"))
        if row.ends == UNREADABLE:
            named.add(("unreadable_end", "ends_at"))
        if row.tier not in self.plans:
            named.add(("unknown_tier", row.tier or "null"))
        return named

    def rows_unknown(self, now: float) -> list[Subscription]:
        """The subscriptions from which nothing follows. Each must be named by an alert."""
        rows = [row for user in self.users.values() for row in user.rows.values()]
        return [row for row in rows if self.judge_row(row, now) == "unknown"]
