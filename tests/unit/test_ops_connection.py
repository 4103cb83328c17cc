"""Which installation the command line uses."""

import json
import os

import pytest
from click.testing import CliRunner

from ops.cli import build_cli
from ops.client import Installation
from ops.connection import TargetError, load_target, read_variables

DEV = {
    "supabase_url": "http://127.0.0.1:1",
    "secret_key": "sb_secret_dev",
    "functions": {"health": "http://127.0.0.1:2", "admin": None},
    "webhook_secret": "whsec_x",
}


ENVIRON = {"SUPABASE_URL": "https://x.example", "SUPABASE_SECRET_KEY": "sb_secret_k"}


def test_the_environment_comes_first(tmp_path):
    dev = tmp_path / "dev.json"
    dev.write_text(json.dumps(DEV))
    environ = {
        "SUPABASE_URL": "https://x.supabase.co",
        "SUPABASE_SECRET_KEY": "k",
        "HANGAR_FUNCTIONS_URL": "https://f.example/",
    }
    target = load_target(environ, dev)
    assert target.supabase_url == "https://x.supabase.co"
    assert target.functions["health"] == "https://f.example/health"


def test_the_local_cloud_comes_second(tmp_path):
    dev = tmp_path / "dev.json"
    dev.write_text(json.dumps(DEV))
    target = load_target({}, dev)
    assert target.functions == {"health": "http://127.0.0.1:2"}
    assert "sb_secret_dev" not in repr(target)


def test_the_way_to_fly_is_that_of_the_installation(tmp_path):
    """A terminal's own token is never used for the local cloud, and without a token there is no way."""
    dev = tmp_path / "dev.json"
    dev.write_text(json.dumps(DEV | {"fly_api_url": "http://127.0.0.1:3", "fly_api_token": "fm2_local"}))
    local = load_target({"FLY_API_TOKEN": "fm2_real_token"}, dev).fly
    assert (local.url, local.token) == ("http://127.0.0.1:3", "fm2_local")
    real = load_target(ENVIRON | {"FLY_API_TOKEN": "fm2_real_token"}, dev).fly
    assert (real.url, real.token) == ("https://api.machines.dev", "fm2_real_token")
    assert "fm2_real" not in repr(real)
    assert load_target(ENVIRON, dev).fly is None
    with pytest.raises(TargetError, match="FLY_API_URL is not a URL"):
        load_target(ENVIRON | {"FLY_API_TOKEN": "fm2_real_token", "FLY_API_URL": "nowhere"}, dev)


def test_the_local_cloud_asks_no_registry_elsewhere(tmp_path):
    """Whatever Fly token the terminal has. A setting may say otherwise."""
    dev = tmp_path / "dev.json"
    dev.write_text(json.dumps(DEV))
    registry = Installation(load_target({"FLY_API_TOKEN": "fm2_real_token"}, dev)).make_registry()
    assert (registry.scope, dict(registry.credentials)) == ("loopback", {})
    assert Installation(load_target({"HANGAR_IMAGE_LOOKUP": "off"}, dev)).make_registry().scope == "off"


def test_a_real_installation_asks_every_registry_with_the_fly_token_for_flys(tmp_path):
    target = load_target(ENVIRON | {"FLY_API_TOKEN": "FlyV1 fm2_real_token\n"}, tmp_path / "absent.json")
    registry = Installation(target).make_registry()
    assert (registry.scope, dict(registry.credentials)) == ("all", {"registry.fly.io": ("x", "fm2_real_token")})
    assert "fm2_real" not in repr(target)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "set SUPABASE_URL and SUPABASE_SECRET_KEY, or start the local cloud with `make dev`"),
        ({"SUPABASE_URL": "https://x.supabase.co"}, "SUPABASE_SECRET_KEY is not"),
        (ENVIRON | {"HANGAR_FUNCTIONS_URL": "{oops"}, "HANGAR_FUNCTIONS_URL"),
        (ENVIRON | {"HANGAR_FUNCTIONS_URL": "[1]"}, "HANGAR_FUNCTIONS_URL"),
        (ENVIRON | {"HANGAR_FUNCTIONS_URL": '{"health": "nonsense"}'}, "HANGAR_FUNCTIONS_URL .health. is not a URL"),
        (ENVIRON | {"SUPABASE_URL": "not a url"}, "SUPABASE_URL is not a URL"),
        (ENVIRON | {"SUPABASE_URL": "https://x:99999"}, "SUPABASE_URL is not a URL"),
        (
            ENVIRON | {"SUPABASE_URL": "https://user:canary@x.example"},
            "SUPABASE_URL is not a URL: .* without a password",
        ),
        (ENVIRON | {"SUPABASE_URL": "https://x.example?apikey=canary"}, "SUPABASE_URL is not a URL"),
        (ENVIRON | {"FLY_API_URL": "https://user:canary@x.example"}, "FLY_API_URL is not a URL"),
        (ENVIRON | {"HANGAR_FUNCTIONS_URL": "https://user:canary@x.example"}, "HANGAR_FUNCTIONS_URL is not a URL"),
        (
            ENVIRON | {"SUPABASE_URL": "https://supabase.com/dashboard/project/abcdefghijklmnopqrst"},
            "the address of the project's API is https://abcdefghijklmnopqrst.supabase.co",
        ),
        (
            ENVIRON | {"SUPABASE_URL": "https://x.example/rest/v1/"},
            "the address of the project's API is https://x.example",
        ),
        (ENVIRON | {"SUPABASE_SECRET_KEY": "sb_secret_canary more"}, "SUPABASE_SECRET_KEY holds a space"),
        (ENVIRON | {"SUPABASE_SECRET_KEY": "schlüssel"}, "SUPABASE_SECRET_KEY holds"),
        (ENVIRON | {"FLY_API_TOKEN": "canary"}, "FLY_API_TOKEN is wrong: expected a Fly organisation token"),
        (ENVIRON | {"HANGAR_IMAGE_LOOKUP": "canary"}, "HANGAR_IMAGE_LOOKUP is wrong: expected all, loopback or off"),
    ],
)
def test_the_missing_or_wrong_setting_is_named(environ, words, tmp_path):
    with pytest.raises(TargetError, match=words) as error:
        load_target(environ, tmp_path / "absent.json")
    assert "canary" not in str(error.value)


def write_env_file(folder):
    path = folder / ".env.hangar"
    path.write_text("SUPABASE_URL=https://file.example\nSUPABASE_SECRET_KEY=sb_secret_file\n")
    return path


def test_the_file_of_init_is_read_when_the_environment_names_no_installation(tmp_path):
    """What the environment has besides wins over the file."""
    target = load_target({"HANGAR_WEBHOOK_SECRET": "whsec_env"}, tmp_path / "absent.json", write_env_file(tmp_path))
    assert (target.supabase_url, target.secret_key) == ("https://file.example", "sb_secret_file")
    assert target.webhook_secret == "whsec_env"
    assert load_target(ENVIRON, tmp_path / "absent.json", write_env_file(tmp_path)).supabase_url == "https://x.example"


@pytest.mark.parametrize(
    ("url", "counts"), [("https://FILE.example/", True), ("https://other.example", False), (" ", True)]
)
def test_the_file_of_another_installation_lends_no_database_url(url, counts, tmp_path):
    """`hangar uninstall` must not act on the database of the file while the environment names another installation."""
    path = write_env_file(tmp_path)
    path.write_text(path.read_text() + "SUPABASE_DB_URL=postgresql://of.the.file/\n")
    found = read_variables({"SUPABASE_URL": url, "DATABASE_URL": "postgresql://mine/"}, path)
    assert (found.get("SUPABASE_DB_URL") is not None) is counts
    assert found["DATABASE_URL"] == "postgresql://mine/"


@pytest.mark.parametrize(("runs", "expected"), [(True, "http://127.0.0.1:1"), (False, "https://file.example")])
def test_a_local_cloud_comes_before_the_file_only_while_it_runs_and_says_so(runs, expected, tmp_path, capsys):
    dev = tmp_path / "dev.json"
    dev.write_text(json.dumps(DEV | {"pid": os.getpid() if runs else 2**22 + 1}))
    assert load_target({}, dev, write_env_file(tmp_path)).supabase_url == expected
    assert ("acting on the local cloud" in capsys.readouterr().err) is runs


def test_a_broken_file_is_named_with_its_line_and_without_its_content(tmp_path):
    (tmp_path / ".env.hangar").write_text("SUPABASE_URL=https://file.example\ncanary\n")
    with pytest.raises(TargetError, match="line 2: expected NAME=value") as error:
        load_target({}, tmp_path / "absent.json", tmp_path / ".env.hangar")
    assert "canary" not in str(error.value)


def test_whitespace_around_a_key_is_ignored(tmp_path):
    target = load_target(ENVIRON | {"SUPABASE_SECRET_KEY": " sb_secret_k\n"}, tmp_path / "absent.json")
    assert target.secret_key == "sb_secret_k"


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"functions": []}'])
def test_a_broken_dev_file_is_named(text, tmp_path):
    dev = tmp_path / "dev.json"
    dev.write_text(text)
    with pytest.raises(TargetError, match="cannot be read"):
        load_target({}, dev)


def test_a_local_cloud_that_is_not_running_is_reported(tmp_path):
    dev = tmp_path / "dev.json"
    dev.write_text(json.dumps(DEV | {"pid": 2**22 + 1}))
    with pytest.raises(TargetError, match=r"process 4194305\) is not running"):
        load_target({}, dev)


def test_each_function_may_have_its_own_address(tmp_path):
    environ = ENVIRON | {
        "HANGAR_FUNCTIONS_URL": '{"health": "https://h.example"}',
    }
    assert load_target(environ, tmp_path / "absent.json").functions == {"health": "https://h.example"}


@pytest.mark.parametrize("arguments", [["status", "nonsense"], ["sweep"], ["pause"], ["nothing-such"]])
def test_usage_and_settings_end_with_2_and_no_traceback(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("SUPABASE_URL", "SUPABASE_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(build_cli(), arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
