"""What Hangar owes each user, computed without Hangar's code: plans, subscriptions, overrides, and grace after a loss.

Times are seconds of one clock. Nothing of the product is imported.
"""

from dataclasses import dataclass, field

GRACE_S = {"free": 0.0, "pro": 0.0, "elite": 7200.0}
NEVER = float("inf")


@dataclass
class User:
    """One user as the host and the operator have them, and what is left to them of a plan they lost."""

    tier: str | None = "free"
    status: str = "active"
    expires_at: float | None = None
    word: str | None = None
    word_plan: str | None = None
    word_until: float = NEVER
    deleted: bool = False
    has_app: bool = False
    """Whether the user is known to have had an app when the plan was lost."""
    plan: str | None = None
    """The plan as last noticed."""
    kept_for: tuple[float, float] | None = None
    """Grace ends between these two: it begins when the loss is noticed, which is no earlier than the loss."""

    def plan_at(self, now: float) -> str | None:
        """The plan the user is entitled to, by the first line of the table that applies. None means no plan."""
        if self.word and now < self.word_until:
            return self.word_plan if self.word == "grant" else None
        if self.deleted or self.tier in (None, "free"):
            return None
        if self.status in ("active", "past_due"):
            return self.tier if self.expires_at is None or now < self.expires_at else None
        return self.tier if self.expires_at is not None and now < self.expires_at else None

    def lost_at(self, now: float) -> float:
        """The earliest moment at which time alone has taken the plan away; `now` when a statement did."""
        ends = [end for end in (self.expires_at, self.word_until) if end is not None and end <= now]
        return max(ends, default=now)


@dataclass
class Model:
    """All users. `notice` is what every statement, and every sweep, does."""

    users: dict[object, User] = field(default_factory=dict)

    def notice(self, user: User, now: float, *, by_time: bool = False) -> None:
        """Start or end the grace according to the user's plan at this moment."""
        plan = user.plan_at(now)
        lost, user.plan = user.plan, plan
        if plan:
            user.kept_for = None
        elif lost:
            grace = 0.0 if user.deleted else GRACE_S[lost]
            user.kept_for = ((user.lost_at(now) if by_time else now) + grace, now + grace)
        elif user.deleted and user.kept_for:
            user.kept_for = (min(now, user.kept_for[0]), min(now, user.kept_for[1]))

    def owed_at(self, user: User, now: float) -> set[str]:
        """What may be found on Fly after a sweep: "runs", "stopped" (kept in grace), "nothing"."""
        if user.plan_at(now):
            return {"runs"}
        if user.kept_for is None or now >= user.kept_for[1]:
            return {"nothing"}
        if user.has_app and now < user.kept_for[0]:
            return {"stopped"}
        return {"stopped", "nothing"}
