"""Starting and stopping a function: wrong settings end it with a message, it imports only its own code, SIGTERM waits for it."""

import json
import subprocess
import sys
import threading
import time

import pytest

from tests.http.running_function import (
    FUNCTIONS,
    JSON,
    PATIENCE_S,
    ROOT,
    SECRET_TEXTS,
    SETTINGS,
    STATIC,
    USER,
    framework,
    make_environ,
    outside,
    running,
)

REQUIRED = (
    "SUPABASE_URL",
    "SUPABASE_SECRET_KEY",
    "SUPABASE_PUBLISHABLE_KEY",
    "FLY_API_TOKEN",
    "FLY_ORG_SLUG",
    "HANGAR_INSTALLATION_ID",
    "HANGAR_WEBHOOK_SECRET",
    "HANGAR_USER_TOKEN_KEY",
)


def start(target, settings):
    """Start a function that is expected to exit."""
    return subprocess.run(
        framework(target, "--port", "0"),
        cwd=ROOT,
        env=make_environ(settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def run_python(code, settings=SETTINGS):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=make_environ(settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def assert_refused(ended, names):
    assert ended.returncode not in (0, None)
    lines = ended.stderr.splitlines()
    assert len(lines) == len(names), ended.stderr
    for line, name in zip(lines, names, strict=True):
        assert name in line
        assert "expected " in line
    assert "Traceback" not in ended.stderr
    for text in SECRET_TEXTS:
        assert text not in ended.stderr + ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_setting_is_named_with_its_form(name):
    without = {key: value for key, value in SETTINGS.items() if key != name}
    target = FUNCTIONS[REQUIRED.index(name) % len(FUNCTIONS)]
    assert_refused(start(target, without), [name])


@pytest.mark.slow
@pytest.mark.parametrize("target", FUNCTIONS)
def test_every_missing_setting_is_named_at_once(target):
    assert_refused(start(target, {}), REQUIRED)


@pytest.mark.slow
def test_a_wrong_setting_is_named_and_its_value_is_not_shown():
    wrong = {
        "FLY_API_TOKEN": "canary",
        "HANGAR_WEBHOOK_SECRET": "whsec_canary",
        "HANGAR_USER_TOKEN_KEY": "canary",
        "HANGAR_MACHINE_SECRETS": '{"KEY": canary}',
    }
    assert_refused(start("provision", SETTINGS | wrong), list(wrong))


def test_an_unknown_function_is_named_in_the_error():
    ended = start("adopt", SETTINGS)
    assert ended.returncode != 0
    assert "adopt" in ended.stderr


LOADED = """
import json, sys
import main
function = getattr(main, sys.argv[1] if len(sys.argv) > 1 else TARGET)
assert function.__name__ == TARGET and callable(function)
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", [*FUNCTIONS, "admin"])
def test_loading_one_function_loads_no_other_and_nothing_heavy(target):
    """Imports make every cold start slower. The token signer and the database client are imported at their first use."""
    ended = run_python(f"TARGET = {target!r}\n{LOADED}")
    assert ended.returncode == 0, ended.stderr
    loaded = set(json.loads(ended.stdout))
    assert f"functions.{target}.main" in loaded
    for other in {*FUNCTIONS, "admin"} - {target}:
        assert f"functions.{other}.main" not in loaded
    for heavy in (
        "supabase",
        "supabase_auth",
        "realtime",
        "storage3",
        "jwt",
        "cryptography",
        "boto3",
        "google.auth",
        "local",
        "ops",
    ):
        assert heavy not in loaded


def test_main_itself_loads_nothing_and_needs_no_settings():
    ended = run_python(
        "import sys, main; print([name for name in sys.modules if name.startswith(('functions', 'shared'))])", {}
    )
    assert (ended.stdout.strip(), ended.returncode) == ("[]", 0), ended.stderr


def test_main_knows_every_function_that_has_a_folder():
    """`make dev` starts every function with a folder, a deployment every function that main knows."""
    ended = run_python("import main; print(*sorted(main._MODULES))")
    folders = sorted(path.parent.name for path in (ROOT / "functions").glob("*/main.py"))
    assert ended.stdout.split() == folders, ended.stderr


def test_main_knows_its_functions_only():
    ended = run_python("import main; print(hasattr(main, 'other'), hasattr(main, '__path__'))")
    assert ended.stdout.split() == ["False", "False"], ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("target", FUNCTIONS)
def test_sigterm_lets_a_request_finish(target, tmp_path):
    """The signal arrives while the database holds the call. The call is answered, and the process exits with 0."""
    body = json.dumps({"user_id": USER}).encode()
    replies = []
    with outside() as (world, settings), running(target, settings, tmp_path) as function:
        world.go_on.clear()
        asking = threading.Thread(target=lambda: replies.append(function.ask(body, JSON | STATIC)))
        asking.start()
        assert world.arrived.wait(PATIENCE_S)
        function.terminate()
        await_signal(function)
        world.go_on.set()
        asking.join(PATIENCE_S)
        assert function.process.wait(PATIENCE_S) == 0
    (reply,) = replies
    assert reply.status == 503
    assert reply.json()["code"] == "out_of_reach"


def await_signal(function):
    """Wait until the server has logged the signal."""
    deadline = time.monotonic() + PATIENCE_S
    while "Handling signal: term" not in function.output():
        assert time.monotonic() < deadline, function.output()
        time.sleep(0.02)
