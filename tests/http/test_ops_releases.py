"""`hangar release` against a whole local cloud: apps, rows and releases after each command, and every refusal."""

import time
import uuid

import pytest

from shared.adapters.database import PostgrestStore
from shared.domain.errors import OutcomeUnknown
from tests.http.running_operator import DEADLINE_S, open_operator

OLD, NEW = "registry.fly.io/vyx-app:v1", "registry.fly.io/vyx-app:v2"
BAD = "registry.fly.io/vyx-app:v2-crash-at-start"
FAST = ("--soak", "0s", "--max-moving", "50", "--moving-share", "100%")


@pytest.fixture
def operator(cloud, tmp_path):
    """Six users with healthy apps that run `OLD`, and no release."""
    with open_operator(cloud, tmp_path) as operator:
        yield fleet_of(operator, 6)


def fleet_of(operator, size):
    """The operator of a live installation with healthy apps that run `OLD`, without releases, pins and alerts."""
    for table in ("release_targets", "user_specs", "releases", "user_pins"):
        operator.sql(f"delete from hangar.{table}")
    operator.sql("update hangar.alerts set resolved_at = now() where resolved_at is null")
    operator.sql("update hangar.settings set default_image = %s", OLD)
    operator.sql("update public.fly_plans set docker_image = null, env = '{}', memory_mb = 512 where tier = 'pro'")
    operator.users = operator.add_users(size)
    operator.hangar("migrate-users", "--apply", "--go-live")
    operator.hangar("sweep")
    return operator


def images(operator):
    """How many machines run each image, by Fly's own state."""
    found = [machine["config"]["image"].partition("@")[0] for app in operator.fly_apps() for machine in app["machines"]]
    return {image: found.count(image) for image in set(found)}


def count_releases(operator):
    return operator.sql("select count(*) from hangar.releases")[0][0]


def finish(operator, release, *, until=("completed", "paused", "aborted", "rolled_back")):
    """Drain until the release is at rest; its status."""
    ends_at = time.monotonic() + DEADLINE_S
    while True:
        operator.hangar("sweep", "--drain")
        found = operator.json("release", "status", str(release))
        moving = [each for each in found["targets"] if each["state"] in ("applying", "verifying") or each["goes_back"]]
        if found["state"] in until and not moving:
            return found
        assert time.monotonic() < ends_at, found
        time.sleep(0.2)


def create(operator, *options):
    return operator.json("release", "create", *options)["id"]


def test_a_dry_run_shows_waves_cost_and_who_is_left_out_and_changes_nothing(operator):
    """The pinned user and the one who is held back are named with the reason."""
    pinned, held, *_ = operator.users
    operator.hangar("user", "pin", str(pinned), "--image", OLD, "--reason", "bug 7")
    operator.hangar("user", "hold-back", operator.email(held), "--until", "7d", "--reason", "demo week")
    size = ("--image", NEW, "--cpu", "1", "--memory", "1024")
    plan = operator.json("release", "create", *size, "--dry-run")
    assert [(wave["wave"], wave["size"]) for wave in plan["waves"]] == [(0, 1), (1, 1), (3, 2)]
    assert (plan["before_usd"], plan["after_usd"], plan["left_out"]) == (
        "24.00",
        "20.00",
        {"held_back": 1, "pinned": 1},
    )
    assert {each["user_id"]: each["left_out"] for each in plan["targets"] if each["left_out"]} == {
        str(pinned): "pinned",
        str(held): "held_back",
    }
    out, _ = operator.hangar("release", "create", *size, "--dry-run")
    moving = [operator.email(user) for user in operator.users[2:]]
    for text in (
        "canary",
        *moving,
        "Left out (2)",
        "held back until a date",
        "24.00 USD a month before, 20.00 USD after",
    ):
        assert text in out
    assert "Nothing was changed" in out
    assert count_releases(operator) == 0
    operator.hangar("sweep", "--drain")
    assert images(operator) == {OLD: 6}


@pytest.mark.slow
def test_a_release_is_planned_started_followed_and_rolled_back(operator):
    """A draft moves nothing. The JSON names every app with what it runs and ran; Fly's machines agree."""
    out, _ = operator.hangar("release", "create", "--image", NEW, *FAST, "--reason", "version 2")
    release = operator.sql("select max(id) from hangar.releases")[0][0]
    assert f"hangar release start {release}" in out
    operator.hangar("sweep", "--drain")
    assert images(operator) == {OLD: 6}
    assert "is started" in operator.hangar("release", "status")[0]
    assert "rolling, canary" in operator.hangar("release", "start", str(release))[0]
    assert "it was so already" in operator.hangar("release", "start", str(release))[0]
    operator.hangar("sweep", "--drain")
    out, _ = operator.hangar("release", "status")
    assert "canary" in out
    assert "Behind (1)" in out
    [moving] = [each for each in operator.json("release", "status")["targets"] if each["wave"] == 0]
    explained = operator.hangar("explain", moving["user_id"])[0]
    assert f"release {release}, canary: " in explained
    assert f"should run {NEW}" in explained
    assert f"release {release}, canary" in operator.hangar("status", moving["user_id"])[0]
    assert f"Release {release}: rolling, canary" in operator.hangar("status")[0]
    found = finish(operator, release)
    assert (found["id"], found["state"]) == (release, "completed")
    waves = [{key: wave[key] for key in ("wave", "size", "done", "failed", "pending")} for wave in found["waves"]]
    assert waves == [
        {"wave": number, "size": size, "done": size, "failed": 0, "pending": 0}
        for number, size in enumerate((1, 1, 1, 3))
    ]
    assert {each["user_id"] for each in found["targets"]} == {str(user) for user in operator.users}
    for target in found["targets"]:
        assert target.keys() >= {"app", "user_id", "wave", "state", "running", "previous", "reason"}
        assert (target["state"], target["reason"]) == ("done", None)
        assert target["running"].startswith(f"{NEW}@sha256:")
        assert target["previous"].startswith(f"{OLD}@sha256:")
        assert target["running"].count("@") == target["previous"].count("@") == 1
    assert images(operator) == {NEW: 6}
    out, _ = operator.hangar("release", "list")
    assert all(text in out for text in ("completed", NEW, "version 2"))
    assert "differ from their plan" not in out
    operator.hangar("release", "rollback", str(release), "--reason", "complaints")
    assert finish(operator, release)["state"] == "rolled_back"
    assert images(operator) == {OLD: 6}


@pytest.mark.slow
def test_a_bad_image_pauses_the_release_and_the_status_says_why_and_what_to_do(operator):
    """The canary goes back. Only then does `--watch` end, with 1."""
    operator.hangar("release", "create", "--image", BAD, *FAST, "--deadline", "30s", "--start")
    release = operator.sql("select max(id) from hangar.releases")[0][0]
    child = operator.start("release", "status", "--watch", str(release))
    found = finish(operator, release)
    assert found["state"] == "paused"
    out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 1, out + err
    assert f"Release {release}: rolling, canary" in out
    for text in ("Paused: the canary failed", "Reasons", "reverted", f"hangar release resume {release}"):
        assert text in out
    assert images(operator) == {OLD: 6}
    [status] = [line for line in operator.hangar("status")[0].splitlines() if line.startswith("Release ")]
    assert "paused, canary" in status
    assert operator.hangar("release", "abort", str(release))[0].startswith(f"Release {release}: aborted")
    assert "already" in operator.hangar("release", "abort", str(release))[0]


@pytest.mark.slow
def test_watching_a_good_release_ends_with_0(operator):
    release = create(operator, "--image", NEW, *FAST, "--waves", "100", "--start")
    child = operator.start("release", "status", "--watch", "--json")
    assert finish(operator, release)["state"] == "completed"
    out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 0, out + err
    assert '"state": "completed"' in out
    assert "rolling" not in out


@pytest.mark.slow
def test_a_release_is_paused_and_resumed_and_a_wrong_state_is_refused(operator):
    """Exit code 3 and the states in which it would be possible."""
    release = str(create(operator, "--image", NEW, *FAST))
    for action in ("pause", "resume", "rollback"):
        _, err = operator.hangar("release", action, release, exits=3)
        assert (
            err
            == f"hangar: release {release} is draft; {action} is possible only while it is "
            + {
                "pause": "rolling\n",
                "resume": "paused\n",
                "rollback": "rolling or paused or completed\n",
            }[action]
        )
    operator.hangar("release", "start", release)
    assert "paused" in operator.hangar("release", "pause", release, "--reason", "lunch")[0]
    operator.hangar("sweep", "--drain")
    assert images(operator) == {OLD: 6}
    assert "Paused: lunch" in operator.hangar("release", "status", release)[0]
    assert operator.json("release", "resume", release)["changed"] is True
    assert finish(operator, release)["state"] == "completed"


@pytest.mark.slow
def test_a_release_that_hangar_holds_says_why(operator):
    """While Hangar is paused nothing moves and nothing fails."""
    release = create(operator, "--image", NEW, *FAST, "--start")
    operator.hangar("pause")
    operator.hangar("sweep", "--drain")
    out, _ = operator.hangar("release", "status")
    assert "waits because Hangar is paused" in out
    assert images(operator) == {OLD: 6}
    operator.hangar("resume")
    assert finish(operator, release)["state"] == "completed"


REFUSED = {
    ("--image", "nonsense"): "image must be an image with a tag or a digest",
    (): "name what changes: --image,",
    ("--region", "iad", "--tier", "pro"): "--region only chooses the apps that are there; --move-to moves apps",
    ("--drift", "--image", NEW): "kind plan",
    (
        "--image",
        NEW,
        "--users",
        "nobody@example.test",
    ): "no user of this installation has the e-mail nobody@example.test",
    ("--image", NEW, "--users", "99999999-9999-4999-8999-999999999999"): "have no app that is wanted: 99999999-",
    ("--image", NEW, "--users", "no-such-file.txt"): "neither a user (uuid or e-mail) nor a file",
    ("--image", NEW, "--canary", "nobody"): "neither a user (uuid or e-mail) nor a file",
    ("--image", NEW, "--region", "xyz"): "not xyz",
    ("--image", NEW, "--tier", "gold"): "not gold",
    ("--cpu", "3"): "3 shared vCPU does not exist on Fly",
    ("--cpu", "0"): "cpu_count must be a whole number from 1 to 64, not 0",
    ("--memory", "100000"): "is refused by Fly",
    ("--memory", "1000"): "steps of 256 MB",
    ("--image", NEW, "--tier", ""): "--tier has an empty value",
    ("--image", NEW, "--region", "sin,"): "--region is empty, so it chooses nobody",
    ("--image", NEW, "--users", ""): "--users has an empty value",
    ("--image", NEW, "--version", ""): "--version has an empty value",
    ("--image", NEW, "--version", " "): "--version has an empty value",
    (
        "--image",
        NEW,
        "--version",
        " v2",
    ): 'without space around them, not " v2"',
    ("--image", NEW, "--version", "v2\nv3"): "version must have 1 to 200 characters on one line",
    ("--image", NEW, "--version", "v" * 201): "version must have 1 to 200 characters on one line",
    ("--image", f"https://{NEW}"): "image must be an image with a tag or a digest",
    ("--image", NEW.upper()): "image must be an image with a tag or a digest",
    ("--image", f"{NEW}@sha256:"): "image must be an image with a tag or a digest",
    ("--image", f"{NEW}@sha256:abc"): '64 hexadecimal digits in lower case, not "sha256:abc"',
    ("--image", f"{NEW}@md5:{'a' * 64}"): "the digest of an image is sha256:",
    ("--image", f"{NEW}@sha256:{'a' * 65}"): "the digest of an image is sha256:",
    ("--env", f"A={'x' * 40_000}"): "values may have at most 32768 bytes",
    ("--image", ""): "--image has an empty value",
    ("--image", NEW, "--share", "0"): "share must be a number from",
    ("--image", NEW, "--share", "101%"): "--share must be at most 100%",
    ("--image", NEW, "--share", "50"): "write 50%",
    ("--image", NEW, "--share", "-1%"): "--share must be a share like 5% or 0.05",
    ("--image", NEW, "--failure-share", "lots"): "--failure-share must be a share like",
    ("--image", NEW, "--waves", "5,25"): "--waves must end with 100",
    ("--image", NEW, "--waves", "25,5,100"): "--waves must grow",
    ("--image", NEW, "--waves", "a,100"): "--waves must be percentages",
    ("--image", NEW, "--soak", "soon"): "--soak must be a duration",
    ("--image", NEW, "--soak", "2d"): "soak_s must be a number from 0 to 86400",
    ("--image", NEW, "--deadline", "1s"): "deadline_s must be a number from 30 to 86400",
    ("--image", NEW, "--canary-size", "0"): "canary_size must be a whole number from 1 to 50",
    ("--image", NEW, "--max-moving", "9999"): "max_moving must be a whole number from 1 to 500",
    ("--env", "TOKEN"): "--env must have the form NAME=VALUE",
    ("--env", "MY-TOKEN=hunter2"): "'MY-TOKEN' cannot be the name of a variable",
    ("--env", "A=hunter2", "--env", "A=b"): "A is given twice",
    ("--image", NEW, "--dry-run", "--start"): "--dry-run changes nothing",
    ("--cpu", "2"): "no app needs this release: 6 are left out (already)",
}


@pytest.mark.slow
def test_bad_input_is_one_line_with_exit_code_2_and_moves_nothing(operator):
    for options, sentence in REFUSED.items():
        for more in ((), ("--dry-run",) if "--dry-run" not in options else ()):
            _, err = operator.hangar("release", "create", *options, *more, exits=2)
            assert sentence in err, (options, err)
            assert len(err.strip().splitlines()) == 1, err
            assert "hunter2" not in err
            assert not any(word in err for word in ("22023", "report", "the database"))
    for command in ("start", "pause", "resume", "abort", "rollback", "status"):
        _, err = operator.hangar("release", command, "99", exits=2)
        assert err == "hangar: there is no release 99. Releases: none\n"
        operator.hangar("release", command, "zero", exits=2)
    assert "no release yet" in operator.hangar("release", "status", exits=2)[1]
    assert count_releases(operator) == 0
    operator.hangar("sweep", "--drain")
    assert images(operator) == {OLD: 6}


def test_a_file_of_users_may_come_from_any_editor(operator):
    """With a byte order mark, Windows line ends, comments, capitals, a user named twice. What is no user is named by line."""
    first, second = operator.users[:2]
    lines = f"\ufeff{operator.email(first)}\r\n\r\n# staff\r\n{str(second).upper()}\r\n{first}  # again\r\n"
    (operator.folder / "users.txt").write_bytes(lines.encode())
    plan = operator.json("release", "create", "--image", NEW, "--users", "users.txt", "--dry-run")
    assert {each["user_id"] for each in plan["targets"]} == {str(first), str(second)}
    (operator.folder / "odd.txt").write_bytes(f"{operator.email(first)}\n{operator.email(second)}\0\n".encode())
    _, err = operator.hangar("release", "create", "--image", NEW, "--users", "odd.txt", exits=2)
    assert "odd.txt, line 2: " in err
    assert len(err.splitlines()) == 1, err
    assert count_releases(operator) == 0


@pytest.mark.slow
def test_an_overlapping_release_is_refused_by_the_number_of_the_first(operator):
    """Exit code 3. A second draft is not started either. A release of other users may run beside it."""
    first, *others = [operator.email(user) for user in operator.users]
    later = create(operator, "--image", BAD)
    release = create(operator, "--image", NEW, *FAST, "--users", first, "--start")
    for command in (("create", "--image", BAD), ("create", "--env", "A=b", "--dry-run"), ("start", str(later))):
        _, err = operator.hangar("release", *command, exits=3)
        assert err == (
            f"hangar: release {release} is under way and concerns some of the same apps: wait until it has ended, or end it "
            f"with `hangar release abort {release}`\n"
        )
    assert operator.json("release", "status", str(later))["state"] == "draft"
    (operator.folder / "users.txt").write_text(
        "# the others\n" + "\n".join(others[:2]) + "\n\n" + others[2] + " # vip\n"
    )
    beside = create(operator, "--image", NEW, *FAST, "--users", "users.txt", "--canary", others[2])
    _, err = operator.hangar(
        "release", "create", "--image", NEW, "--users", "users.txt", "--canary", others[3], exits=2
    )
    assert "none of the canary users would move" in err
    targets = operator.json("release", "status", str(beside))["targets"]
    assert {each["user_id"] for each in targets} == {str(user) for user in operator.users[1:4]}
    assert [each["user_id"] for each in targets if each["wave"] == 0] == [str(operator.users[3])]
    assert finish(operator, release)["state"] == "completed"
    assert images(operator) == {OLD: 5, NEW: 1}


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_answer_does_not_make_a_second_release(operator, monkeypatch, lost):
    """The database planned it and the answer was lost, once or again at the repetition. The operator repeats the command."""
    ask, answers = PostgrestStore._rpc_once, [0]

    def lose(store, name, args):
        answer = ask(store, name, args)
        if name == "fly_create_release" and answers[0] < lost:
            answers[0] += 1
            raise OutcomeUnknown("the database sent no response to fly_create_release (ReadTimeout)")
        return answer

    monkeypatch.setattr(PostgrestStore, "_rpc_once", lose)
    command = ("release", "create", "--image", NEW, *FAST, "--start")
    if lost == 1:
        out, _ = operator.hangar(*command)
    else:
        _, err = operator.hangar(*command, exits=1)
        request = err.partition("--request ")[2].partition(":")[0]
        uuid.UUID(request)
        out, _ = operator.hangar(*command, "--request", request)
        assert "nothing was planned a second time" in out
    assert "rolling, canary" in out
    assert count_releases(operator) == 1


@pytest.mark.slow
def test_an_edited_plan_reaches_the_fleet_by_a_release_for_drift(operator):
    """`status` and `list` count the apps that differ. Without any, no release is planned and the exit code is 0."""
    out, _ = operator.hangar("release", "create", "--drift", "--start")
    assert out == "No app differs from its plan, so no release was planned\n"
    assert operator.json("release", "create", "--drift")["id"] is None
    operator.sql("update public.fly_plans set memory_mb = 1024 where tier = 'pro'")
    for command in (("status",), ("release", "list")):
        out, _ = operator.hangar(*command)
        assert "6 apps differ from their plan" in out
        assert "create a release with `hangar release create --drift`" in out
    operator.hangar("release", "create", "--drift", *FAST, "--start")
    release = operator.sql("select max(id) from hangar.releases")[0][0]
    assert finish(operator, release)["state"] == "completed"
    assert {app["machines"][0]["config"]["guest"]["memory_mb"] for app in operator.fly_apps()} == {1024}
    assert operator.json("release", "list")["differ"]["apps"] == 0
