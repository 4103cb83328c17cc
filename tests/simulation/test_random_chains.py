"""Random chains of releases, while users come, go and are pinned, all rolled back in a random order: everything is as before."""

import psycopg
import pytest

from tests.support.clock import make_chance
from tests.support.release_chains import FAST, NEXT, OLD, have_two_tiers, read_plans
from tests.support.releases import ACTOR, NEW, change, finish, operate, pass_minutes, start_release

IMAGES = [NEW, NEXT, "registry.fly.io/vyx-app:v4"]
PINS = [{"image": "registry.fly.io/vyx-app:v9"}, {"cpu_kind": "shared", "cpu_count": 4, "memory_mb": 4096}]
_NOTHING_TO_DO = ("no app needs", "no app that is wanted", "must be")


class Chain:
    """Three releases and their rollbacks. `log` says in which order what was done."""

    def __init__(self, world, seed):
        self.world, self.chance, self.log = world, make_chance(seed, "chains"), []
        self.users = [user for (user,) in world.sql("select user_id from public.user_fly_apps order by fly_app_name")]
        self.tiers = {user: world.row(user)["tier"] for user in self.users}
        self.away, self.pinned = [], []

    def say(self, *what):
        self.log.append(" ".join(map(str, what)))

    def run(self):
        numbers = []
        for _ in range(3):
            numbers += self.release()
            self.happen()
        self.chance.shuffle(numbers)
        for number in numbers:
            self.roll_back(number)
            self.happen()
        while self.pinned:
            self.unpin(self.pinned[0])
        while self.away:
            self.come_back(self.away[0])
        pass_minutes(self.world, 15)

    def release(self):
        """The number of the release if it has come to its end, as a list."""
        try:
            number = start_release(self.world, **FAST, **self.draw_release())
        except psycopg.Error as refused:
            if not any(words in str(refused) for words in _NOTHING_TO_DO):
                raise
            return []
        self.say("release", number)
        if self.chance.random() < 0.4:
            pass_minutes(self.world, self.chance.choice([1, 2, 3]))
            self.happen()
        found = finish(self.world, number)
        if found["state"] == "paused":
            change(self.world, number, "abort")
            assert finish(self.world, number)["state"] == "aborted"
            return []
        assert found["state"] == "completed", (self.log, found)
        return [number]

    def draw_release(self):
        if self.chance.random() < 0.2:
            return {"kind": "plan"}
        values = {
            "image": {"image": self.chance.choice(IMAGES)},
            "size": {"memory_mb": self.chance.choice([1536, 2048])},
            "env": {"env": {self.chance.choice("AB"): self.chance.choice("12")}},
            "region": {"region": self.chance.choice(["nrt", "sin"])},
        }
        spec = {}
        for part in self.chance.sample(sorted(values), self.chance.choice([1, 1, 2, 2, 3])):
            spec |= values[part]
        whom = self.chance.choice(["all", "all", "tiers", "users"])
        if whom == "tiers":
            spec["tiers"] = [self.chance.choice(["pro", "elite"])]
        elif whom == "users":
            spec["users"] = [str(user) for user in self.chance.sample(self.here(), 2)]
        self.say(spec)
        return spec

    def roll_back(self, number):
        self.say("rollback", number)
        change(self.world, number, "rollback")
        if self.chance.random() < 0.3:
            self.happen()
        assert finish(self.world, number)["state"] == "rolled_back", self.log

    def here(self):
        return [user for user in self.users if user not in self.away]

    # What happens to users between the releases

    def happen(self):
        moves = [None, self.change_tier, self.leave, self.leave, self.join, self.pin]
        move = self.chance.choice(moves)
        user = self.chance.choice(self.here())
        if self.away and self.chance.random() < 0.3:
            move, user = self.come_back, self.chance.choice(self.away)
        elif self.pinned and self.chance.random() < 0.3:
            move, user = self.unpin, self.chance.choice(self.pinned)
        if move is not None:
            self.say(move.__name__, self.users.index(user))
            move(user)
            pass_minutes(self.world, 5)

    def change_tier(self, user):
        self.tiers[user] = "elite" if self.tiers[user] == "pro" else "pro"
        self.world.set_tier(user, self.tiers[user])

    def leave(self, user):
        if len(self.here()) > 3:
            self.world.sql("update public.fly_plans set grace_s = %s", self.chance.choice([0, 10**7]))
            self.world.set_tier(user, "free")
            self.away.append(user)

    def come_back(self, user):
        self.away.remove(user)
        self.world.set_tier(user, self.tiers[user])

    def join(self, _user):
        tier = self.chance.choice(["pro", "elite"])
        self.users.append(self.world.add_user(tier))
        self.tiers[self.users[-1]] = tier

    def pin(self, user):
        if user not in self.pinned:
            pin = self.chance.choice(PINS)
            operate(self.world, "fly_set_user_pin", p_user=user, p_pin=pin, p_actor=ACTOR, p_reason="a test")
            self.pinned.append(user)

    def unpin(self, user):
        self.pinned.remove(user)
        operate(self.world, "fly_set_user_pin", p_user=user, p_pin=None, p_actor=ACTOR)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_chains_of_releases_end_where_they_began(world, seed):
    have_two_tiers(world)
    world.allow_mass_losses()
    before = read_plans(world)
    chain = Chain(world, seed)
    chain.run()
    for user in chain.users:
        row = world.row(user)
        found = (
            row["docker_image"].partition("@")[0],
            row["memory_mb"],
            row["env_version"],
            row["region"],
            row["status"],
        )
        assert found == (OLD, 1024, None, "iad", "active"), (chain.users.index(user), chain.log)
    assert (world.sql("select * from hangar.user_specs"), read_plans(world)) == ([], before), chain.log
