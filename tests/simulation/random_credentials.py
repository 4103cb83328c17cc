"""Credentials in a small world: users whose tokens are revoked, and operators who have every token renewed."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.support.clock import make_chance

if TYPE_CHECKING:
    from tests.simulation.small_storm import SmallStorm

_ACTOR = "operator"
# The calm lasts so many hours at most. One app an hour gets a new token, and a repair may come between.
_MOST_HOURS = 30


class RandomCredentials:
    """The moves of operators with tokens. What it finds, it reads from the machines, not from the engine's columns."""

    def __init__(self, storm: "SmallStorm", seed: int) -> None:
        self.storm, self.world = storm, storm.world
        self.chance = make_chance(seed, "credentials")
        self.revoked: dict[UUID, float] = {}
        self.renewed_from = 0.0

    def weigh_moves(self) -> dict[Callable[[], None], float]:
        return {self._revoke: 4, self._renew_all: 0.5}

    def _operate(self, what: str, procedure: str, *values: Any) -> Any:
        self.world.note(what, "operator")
        places = ", ".join(["%s"] * len(values))
        return self.world.sql(f"select public.{procedure}({places})", *values)[0][0]

    def _revoke(self) -> None:
        user = self.chance.choice(self.world.users)
        answer = self._operate(f"{user} is revoked", "fly_revoke_user", user, _ACTOR, "storm")
        self.revoked[user] = datetime.fromisoformat(answer["revoked_at"]).timestamp()

    def _renew_all(self) -> None:
        self._operate("every token is renewed", "fly_renew_tokens", _ACTOR, "storm")
        self.renewed_from = self.world.clock()

    def end(self) -> None:
        """The faults have stopped: the renewal, if one was asked for, reaches every app, one an hour."""
        if self.renewed_from and self.chance.random() < 0.5:
            self._renew_all()
        for _ in range(_MOST_HOURS):
            if not any(issued < self.renewed_from for _, issued in self._running()) and not self._waiting():
                return
            self.world.turns.run(self.world.clock() + 3600.0)
            self.storm.call_health()

    def _waiting(self) -> bool:
        """Whether the token of a wanted app is older than an operator wants, also while its machine is down."""
        issued = (
            "select token_issued_at from public.user_fly_apps where deleted_at is null and desired_state = 'present'"
        )
        return any(at and at.timestamp() < self.renewed_from for (at,) in self.world.sql(issued))

    def _running(self) -> list[tuple[UUID, float]]:
        """The user of each machine that runs and is wanted, and when its token was issued."""
        users = dict(
            self.world.sql(
                "select machine_id, user_id from public.user_fly_apps where deleted_at is null and desired_state = 'present'"
            )
        )
        return [
            (users[machine.id], datetime.fromisoformat(machine.secrets["TOKEN"]).timestamp())
            for machine in self.world.sim.machines()
            if machine.state == "started" and machine.id in users
        ]

    def find_old_tokens(self) -> list[str]:
        """At rest no machine runs with a token that was revoked, or that is older than an operator wanted."""
        problems = []
        for user, issued in self._running():
            if issued <= self.revoked.get(user, 0.0):
                problems.append(f"the machine of {user} still has a revoked token, of {issued}")
            if issued < self.renewed_from:
                problems.append(f"the token of {user}, of {issued}, was never renewed")
        return problems
