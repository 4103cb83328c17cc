"""Commands that ask, at a real terminal: what they show first, what an answer does, and what Ctrl-C leaves."""

import os
import stat
import sys

import pytest

from local.http_server import Response, Server
from tests.http.running_operator import ROOT, open_operator
from tests.support.registry import LoopbackRegistry
from tests.support.terminal import Terminal

TOKEN = "FlyV1 fm2_canary0000000000"
ORG = "acme"


@pytest.fixture
def operator(cloud, tmp_path):
    with open_operator(cloud, tmp_path) as operator:
        yield operator


def open_terminal(env, folder, *words):
    command = [sys.executable, "-c", "from ops.cli import main; main()", *words]
    return Terminal(command, {**env, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"}, folder)


def engage_brake(operator):
    """Three users leave, and one app may go."""
    users = operator.add_users(3)
    operator.hangar("migrate-users", "--apply")
    operator.sql("update hangar.settings set brake_floor = 1, brake_share = 0")
    operator.sql("update public.user_subscriptions set tier = 'free' where user_id = any(%s)", users)
    operator.hangar("sweep")


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "code", "tripped"), [("n", 3, True), ("", 3, True), ("y", 0, False)])
def test_a_release_of_the_brake_shows_what_goes_and_asks(operator, answer, code, tripped):
    """Doctor prints this command. Somebody who pastes it sees how many apps are lost by it."""
    engage_brake(operator)
    with open_terminal(operator.env, operator.folder, "brake", "--release", "--reason", "x") as terminal:
        terminal.expect("A release lets Hangar remove 2 apps of users who are no longer entitled")
        terminal.expect("Continue? [y/N]")
        terminal.type(answer)
        assert terminal.wait() == code
    assert operator.json("brake")["tripped"] is tripped


@pytest.mark.slow
def test_a_release_of_the_brake_asks_nothing_with_yes(operator):
    """The same for a script that has a terminal."""
    engage_brake(operator)
    with open_terminal(operator.env, operator.folder, "brake", "--release", "--yes", "--reason", "x") as terminal:
        assert terminal.wait() == 0
        assert "Continue?" not in terminal.shown
    operator.hangar("brake", "--yes", exits=2)


class Project:
    """A project that `hangar init` is told about, and the operator's empty folder."""

    def __init__(self, world, fly_url, image):
        self.world, self.image, self.folder = world, image, world.folder / "new"
        self.folder.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE", "HANGAR", "FLY"))}
        self.env = {**kept, "FLY_API_URL": fly_url}

    def answers(self):
        """Each question of `hangar init` and its right answer, in order."""
        secrets = self.world.secrets()
        return {
            "Supabase URL: ": self.world.gateway_url,
            "Supabase secret key: ": secrets["SUPABASE_SECRET_KEY"],
            "Supabase publishable key: ": "sb_publishable_0000000000",
            "Database URL (role postgres): ": secrets["SUPABASE_DB_URL"],
            "Fly organisation of the users' apps: ": ORG,
            "Fly token: ": TOKEN,
            "Image of the backend: ": self.image,
            "Regions [sin]: ": "fra,ams",
            "Plans, with commas": "pro=shared-cpu-1x:512:29",
            "Alert address, a webhook (may be empty): ": "",
        }

    def hidden(self):
        return (self.world.secrets()["SUPABASE_SECRET_KEY"], self.world.secrets()["SUPABASE_DB_URL"], TOKEN)

    def run(self, *words):
        return open_terminal(self.env, self.folder, "init", *words)

    def files(self):
        return sorted(each.name for each in self.folder.iterdir())


@pytest.fixture
def project(deploy_world):
    def answer(request):
        if not request.headers.get("authorization", "").endswith(TOKEN.removeprefix("FlyV1 ")):
            return Response(401, b'{"error": "unauthorized"}')
        if request.param("org_slug") != ORG:
            return Response(404, b'{"error": "organization not found"}')
        return Response(200, b'{"apps": [], "total_apps": 0}')

    with Server(answer) as fly, LoopbackRegistry() as registry:
        registry.push("acme/backend:v1")
        yield Project(deploy_world, fly.url, f"{registry.host}/acme/backend:v1")


@pytest.mark.slow
def test_init_asks_for_everything_and_shows_no_secret(project):
    """Right answers, in order: two files, the one with secrets closed to others, and no secret on the screen."""
    with project.run() as terminal:
        for question, answer in project.answers().items():
            terminal.expect(question)
            terminal.type(answer)
        assert terminal.wait() == 0, terminal.shown
        assert not any(secret in terminal.shown for secret in project.hidden())
    assert {".env.hangar", "hangar.toml"} <= set(project.files())
    assert stat.S_IMODE((project.folder / ".env.hangar").stat().st_mode) == 0o600


@pytest.mark.slow
def test_init_asks_again_for_what_was_wrong_and_for_what_it_belongs_to(project):
    """A wrong organisation shows only when the token is tried. Then both are asked for, and Enter keeps what was right."""
    answers = project.answers()
    wrong = {
        "Supabase URL: ": ["", "nonsense"],
        "Supabase publishable key: ": ["hunter2"],
        "Image of the backend: ": ["no image"],
        "Regions [sin]: ": ["Singapore"],
    }
    with project.run() as terminal:
        for question, answer in answers.items():
            for mistake in wrong.get(question, []):
                terminal.expect(question)
                terminal.type(mistake)
            terminal.expect(question)
            if question.startswith("Fly organisation"):
                terminal.type("another-org")
                continue
            terminal.type(answer)
            if question == "Fly token: ":
                terminal.expect("--fly-org another-org")
                terminal.expect("Enter keeps it) [another-org]: ")
                terminal.type(ORG)
                terminal.expect("Fly token: ")
                terminal.type("FlyV1 fm2_wrong00000000000")
                terminal.expect(f"Enter keeps it) [{ORG}]: ")
                terminal.type("")
                terminal.expect("Fly token: ")
                terminal.type(answer)
        assert terminal.wait() == 0, terminal.shown
        assert "WARNING" not in terminal.shown
        assert not any(line.startswith("list ") for line in terminal.shown.splitlines())
    assert f'FLY_ORG_SLUG = "{ORG}"' in (project.folder / "hangar.toml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 5, 8])
@pytest.mark.parametrize("how", ["Ctrl-C", "Ctrl-D"])
def test_init_that_is_broken_off_writes_nothing(project, after, how):
    """At any question, also while the input is hidden."""
    with project.run() as terminal:
        for number, (question, answer) in enumerate(project.answers().items()):
            terminal.expect(question)
            if number == after:
                break
            terminal.type(answer)
        if how == "Ctrl-C":
            terminal.interrupt()
        else:
            terminal.end_input()
        assert terminal.wait() == 130, terminal.shown
        assert "Traceback" not in terminal.shown
    assert project.files() == []
