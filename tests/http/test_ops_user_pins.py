"""`hangar user` against a whole local cloud: what is fixed for one user, what Fly runs then, and every refusal."""

import json
import time

import pytest

from tests.http.running_operator import DEADLINE_S, open_operator
from tests.http.test_ops_releases import FAST, NEW, OLD, create, finish, fleet_of, images

SECRET = "hunter2-secret-value"


@pytest.fixture
def operator(cloud, tmp_path):
    """Two users with healthy apps that run `OLD`."""
    with open_operator(cloud, tmp_path) as operator:
        yield fleet_of(operator, 2)


def machine_of(operator, user):
    """The configuration of the user's machine at Fly."""
    [[app]] = operator.sql(
        "select fly_app_name from public.user_fly_apps where user_id = %s and deleted_at is null", user
    )
    [found] = [each for each in operator.fly_apps() if each["name"] == app]
    return found["machines"][0]["config"]


def drain(operator):
    """Drain until every app is as desired. A nudge may have begun before the drain."""
    ends_at = time.monotonic() + DEADLINE_S
    behind = "select 1 from public.user_fly_apps where deleted_at is null and observed_generation is distinct from generation"
    operator.hangar("sweep", "--drain")
    while operator.sql(behind):
        assert time.monotonic() < ends_at
        time.sleep(0.1)
        operator.hangar("sweep", "--drain")


@pytest.mark.slow
def test_a_pin_changes_the_machine_at_once_and_releases_leave_it_alone(operator):
    """Image and size. `show`, `explain` and `status` give reason and end. Without the pin the user follows again."""
    pinned, other = operator.users
    email = operator.email(pinned)
    out, _ = operator.hangar("user", "pin", email, "--image", f"{OLD}-fix", "--until", "7d", "--reason", "bug 7")
    assert f"{email}: pinned: image {OLD}-fix, until " in out
    assert "(in 7 days): bug 7 (by cli:" in out
    assert "with the next drain" in out
    drain(operator)
    assert images(operator) == {f"{OLD}-fix": 1, OLD: 1}
    operator.hangar("user", "pin", email, "--memory", "1024")
    drain(operator)
    assert machine_of(operator, pinned)["guest"]["memory_mb"] == 1024
    release = create(operator, "--image", NEW, *FAST, "--start")
    assert (
        "release " + str(release) + " leaves this app out: an operator has pinned"
        in operator.hangar("explain", email)[0]
    )
    found = finish(operator, release)
    assert [(each["user_id"], each["state"], each["reason"]) for each in found["targets"]] == [
        (str(other), "done", None),
        (str(pinned), "skipped", "pinned"),
    ]
    assert images(operator) == {f"{OLD}-fix": 1, NEW: 1}
    for command in (("user", "show"), ("explain",), ("status",)):
        shown = " ".join(operator.hangar(*command, email)[0].replace("│", " ").split())
        assert f"image {OLD}-fix; 2 shared vCPU, 1024 MB, until" in shown
        assert "bug 7" in shown
    document = operator.json("user", "show", email)
    assert (document["pin"]["reason"], document["pin"]["memory_mb"], document["release"]) == ("bug 7", 1024, None)
    assert "no pin any more" in operator.hangar("user", "unpin", email, "--reason", "fixed")[0]
    drain(operator)
    assert images(operator) == {NEW: 2}
    assert machine_of(operator, pinned)["guest"]["memory_mb"] == 512
    assert "nothing was changed" in operator.hangar("user", "unpin", email)[0]


@pytest.mark.slow
def test_a_hold_back_keeps_releases_away_until_its_date(operator):
    """Also when it is set while the release waits for its turn."""
    held, other = operator.users
    out, _ = operator.hangar("user", "hold-back", str(held), "--until", "2099-01-31", "--reason", "demo")
    assert "no release until 2099-01-31 00:00 UTC" in out
    assert "stays as it is" in out
    release = create(operator, "--image", NEW, *FAST, "--start")
    assert finish(operator, release)["state"] == "completed"
    assert images(operator) == {OLD: 1, NEW: 1}
    operator.hangar("user", "unpin", str(held))
    later = create(operator, "--env", "MODE=fast", *FAST, "--canary", str(other), "--start")
    operator.hangar("user", "hold-back", str(held), "--until", "1d")
    found = finish(operator, later)
    assert {each["user_id"]: each["code"] for each in found["targets"]} == {str(held): "held_back", str(other): None}
    assert "MODE" not in machine_of(operator, held)["env"]
    assert machine_of(operator, other)["env"]["MODE"] == "fast"


@pytest.mark.slow
def test_variables_of_one_user_reach_the_machine_and_no_output(operator):
    """Set, listed by name, unset. A value is in no output and no event; unpin keeps them."""
    user, other = operator.users
    email, shown = operator.email(user), []
    shown += operator.hangar("user", "env", email, "set", f"API_TOKEN={SECRET}", "LEVEL=a=b", "--reason", "trial")
    drain(operator)
    env = machine_of(operator, user)["env"]
    assert (env["API_TOKEN"], env["LEVEL"]) == (SECRET, "a=b")
    assert "API_TOKEN" not in machine_of(operator, other)["env"]
    assert operator.json("user", "env", email, "list") == {"env": ["API_TOKEN", "LEVEL"]}
    operator.hangar("user", "pin", email, "--image", f"{OLD}-fix")
    operator.hangar("user", "unpin", email)
    drain(operator)
    assert machine_of(operator, user)["env"]["API_TOKEN"] == SECRET
    for command in (
        ("user", "env", email, "list"),
        ("user", "show", email),
        ("user", "show", email, "--json"),
        ("status", email),
        ("status", email, "--json"),
        ("explain", email),
        ("events", "--user", email, "--json"),
        ("user", "env", email, "set", f"API_TOKEN={SECRET}", "--json"),
    ):
        shown += operator.hangar(*command)
    assert SECRET not in "".join(shown)
    assert "env API_TOKEN, LEVEL: trial" in "".join(shown)
    operator.hangar("user", "env", email, "unset", "API_TOKEN")
    drain(operator)
    env = machine_of(operator, user)["env"]
    assert ("API_TOKEN" in env, env["LEVEL"]) == (False, "a=b")
    operator.hangar("user", "env", email, "unset", "LEVEL")
    assert operator.sql("select * from hangar.user_pins") == []


def test_bad_input_is_one_line_with_exit_code_2_and_pins_nothing(operator):
    user = str(operator.users[0])
    nobody = "99999999-9999-4999-8999-999999999999"
    for arguments, sentence in {
        ("pin", user): "a pin needs --image",
        ("pin", user, "--until", "7d"): "has no pin whose end --until could change",
        ("pin", user, "--image", "nonsense"): "image must be an image with a tag or a digest",
        ("pin", user, "--cpu", "3"): "3 shared vCPU does not exist on Fly",
        ("pin", user, "--memory", "100"): "is refused by Fly",
        (
            "pin",
            user,
            "--image",
            OLD,
            "--until",
            "2020-01-01",
        ): "must be in the future; '2020-01-01' is 2020-01-01 00:00 UTC",
        ("pin", user, "--image", OLD, "--until", "soon"): "must be a date like",
        ("pin", nobody, "--image", OLD): f"no user {nobody}",
        ("pin", "nobody@example.test", "--image", OLD): "no user of this installation has the e-mail",
        ("pin", "nobody", "--image", OLD): "neither a user id",
        ("unpin", nobody): f"no user {nobody}",
        ("show", nobody): f"no user {nobody}",
        ("hold-back", nobody, "--until", "1d"): f"no user {nobody}",
        ("hold-back", user, "--until", "0d"): "must be in the future",
        ("env", nobody, "set", f"A={SECRET}"): f"no user {nobody}",
        ("env", user, "set"): "needs at least one variable",
        ("env", user, "set", SECRET): "number 1 has no =",
        ("env", user, "set", f"MY-TOKEN={SECRET}"): "cannot be the name of a variable",
        ("env", user, "unset", "MISSING"): "has no variable MISSING; set are: none",
        ("env", user, "list", "A"): "takes no variable",
    }.items():
        _, err = operator.hangar("user", *arguments, exits=2)
        assert sentence in err, (arguments, err)
        assert len(err.strip().splitlines()) == 1, err
        assert SECRET not in err
    assert operator.sql("select * from hangar.user_pins") == []
    assert operator.sql("select distinct generation from public.user_fly_apps where deleted_at is null") == [(1,)]


@pytest.mark.slow
def test_a_pin_that_is_over_neither_counts_nor_ends_the_next_one(operator):
    """Its end in the past would otherwise end the new pin at once. A hold-back beyond the end of the pin is refused."""
    user = str(operator.users[0])
    operator.hangar("user", "pin", user, "--image", f"{OLD}-fix", "--until", "1h")
    _, err = operator.hangar("user", "hold-back", user, "--until", "2d", exits=2)
    assert "ends before that" in err
    operator.sql("update hangar.user_pins set ends_at = now() - interval '1 minute'")
    assert "ended: image" in operator.hangar("explain", user)[0]
    release = create(operator, "--image", NEW, *FAST, "--start")
    assert finish(operator, release)["state"] == "completed"
    assert images(operator) == {NEW: 2}
    operator.hangar("user", "pin", user, "--image", OLD)
    document = json.loads(operator.hangar("user", "show", user, "--json")[0])
    assert "ends_at" not in document["pin"]
    drain(operator)
    assert images(operator) == {NEW: 1, OLD: 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [("hold-back", "--until", "7d"), ("env", "set", "DEBUG=1"), ("pin", "--memory", "1024")],
    ids=["hold-back", "env", "pin"],
)
def test_no_later_command_brings_a_pin_back_that_is_over(operator, command):
    """Its image was replaced by a release long ago. Its variables are not listed any more either."""
    user = str(operator.users[0])
    operator.hangar("user", "pin", user, "--image", f"{OLD}-fix", "--until", "1h")
    operator.hangar("user", "env", user, "set", "MODE=slow")
    drain(operator)
    operator.sql("update hangar.user_pins set ends_at = now() - interval '1 minute'")
    assert operator.json("user", "env", user, "list") == {"env": []}
    assert "has no variable MODE" in operator.hangar("user", "env", user, "unset", "MODE", exits=2)[1]
    assert "has no pin whose end" in operator.hangar("user", "pin", user, "--until", "7d", exits=2)[1]
    # Without a release the machine keeps what it has, and the pin is still shown.
    assert "ended: image" in operator.hangar("user", "show", user)[0]
    release = create(operator, "--image", NEW, *FAST, "--start")
    assert finish(operator, release)["state"] == "completed"
    verb, *rest = command
    operator.hangar("user", verb, user, *rest)
    drain(operator)
    assert images(operator) == {NEW: 2}
    pin = operator.json("user", "show", user)["pin"]
    assert ("image" in pin, "ends_at" in pin) == (False, False)
    assert "MODE" not in machine_of(operator, user)["env"]


@pytest.mark.slow
def test_a_release_of_something_else_leaves_nothing_of_the_pin_behind(operator):
    """The pinned user gets the variable. When the pin ends, the machine is that of the plan, with the variable."""
    pinned, _ = map(str, operator.users)
    operator.hangar("user", "pin", pinned, "--image", f"{OLD}-fix", "--cpu", "1", "--memory", "1024")
    drain(operator)
    release = create(operator, "--env", "MODE=fast", *FAST, "--users", pinned, "--start")
    assert finish(operator, release)["state"] == "completed"
    assert (machine_of(operator, pinned)["env"]["MODE"], images(operator)) == ("fast", {f"{OLD}-fix": 1, OLD: 1})
    operator.hangar("user", "unpin", pinned)
    drain(operator)
    config = machine_of(operator, pinned)
    assert (config["env"]["MODE"], images(operator)) == ("fast", {OLD: 2})
    assert config["guest"] == {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512}


@pytest.mark.slow
def test_a_rollback_keeps_what_was_pinned_meanwhile(operator):
    """The other user goes back. Without the pin the user has what ran before the release, not the release's image."""
    pinned, _ = map(str, operator.users)
    release = create(operator, "--image", NEW, *FAST, "--share", "100%", "--region", "sin", "--start")
    assert finish(operator, release)["state"] == "completed"
    operator.hangar("user", "pin", pinned, "--image", f"{OLD}-fix")
    drain(operator)
    operator.hangar("release", "rollback", str(release))
    assert finish(operator, release)["state"] == "rolled_back"
    drain(operator)
    assert images(operator) == {f"{OLD}-fix": 1, OLD: 1}
    operator.hangar("user", "unpin", pinned)
    drain(operator)
    assert images(operator) == {OLD: 2}
