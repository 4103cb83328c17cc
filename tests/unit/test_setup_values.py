"""What is typed at the prompts of `hangar init`: a value of another kind is named, and no secret is shown."""

import base64
import json
import os
import tomllib

import pytest

from ops.deploy.plans import format_plans, read_plans
from ops.project_files import ProjectFileError, add_to_env_file, read_env_file, write_private
from ops.setup import checks, values

URL = "https://abcdefghijklmnopqrst.supabase.co"


def make_key(role, project="abcdefghijklmnopqrst"):
    claims = base64.urlsafe_b64encode(json.dumps({"role": role, "ref": project}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{claims}.c2lnbmF0dXJlLWNhbmFyeQ"


ADDRESSES = [
    (URL, None),
    (f"{URL}/", None),
    ("http://127.0.0.1:54321", None),
    (f"{URL}/rest/v1", "without '/rest/v1'"),
    ("https://supabase.com/dashboard/project/abcdefghijklmnopqrst/settings/api", f"its address is {URL}"),
    ("https://db.abcdefghijklmnopqrst.supabase.co", "is the host of a database"),
    ("https://aws-0-eu-central-1.pooler.supabase.com", "is the host of a database"),
    ("abcdefghijklmnopqrst.supabase.co", "not 'abcdefghijklmnopqrst.supabase.co'"),
    ("", "not ''"),
    ("https://ünï☃.example", "not 'https://ünï☃.example'"),
    ("sb_secret_canary_0000", "not a secret key of Supabase"),
    ("postgresql://postgres:canary@db.example/postgres", "not a database URL"),
    ("https://user:canary@abc.example", "not a text that may hold a secret"),
]


@pytest.mark.parametrize(("typed", "says"), ADDRESSES)
def test_an_address_that_is_not_the_projects_is_named(typed, says):
    problem = values.check_project_url(typed)
    assert (problem is None) if says is None else says in str(problem)
    assert "canary" not in str(problem)


KEYS = [
    ("sb_publishable_canary_00", "not a publishable key of Supabase"),
    (make_key("anon"), "not a legacy key of Supabase with the role 'anon'"),
    (
        make_key("service_role", "zzzzzzzzzzzzzzzzzzzz"),
        "a key of the project 'zzzzzzzzzzzzzzzzzzzz', and SUPABASE_URL names",
    ),
    ("postgresql://a:canary@b/c", "not a database URL"),
    ("FlyV1 fm2_canary", "not a Fly token"),
    ("canary", "not a text of another form"),
    ("", "not an empty text"),
]


@pytest.mark.parametrize(("typed", "says"), KEYS)
def test_another_key_than_the_secret_one_is_named_without_showing_it_and_without_a_call(typed, says, monkeypatch):
    monkeypatch.setattr(checks, "make_client", lambda *_, **__: pytest.fail("the project was asked"))
    problem = str(checks.check_supabase(URL, typed))
    assert problem.startswith("SUPABASE_SECRET_KEY is wrong")
    assert says in problem
    assert "canary" not in problem
    assert "Y2FuYXJ5" not in problem


def test_a_secret_key_at_the_prompt_of_the_publishable_one_is_named_without_showing_it():
    for typed, says in (
        ("sb_secret_canary_0000", "a secret key"),
        (make_key("service_role"), "the role 'service_role'"),
    ):
        problem = str(checks.check_publishable(typed, URL))
        assert says in problem
        assert typed not in problem
        assert "canary" not in problem
    assert checks.check_publishable(make_key("anon"), URL) is None
    assert "another" not in str(checks.check_publishable(make_key("anon", "other"), URL))
    assert "names 'abcdefghijklmnopqrst'" in str(checks.check_publishable(make_key("anon", "other"), URL))


DATABASES = [
    ("postgresql://postgres:canary@db.abcdefghijklmnopqrst.supabase.co:5432/postgres", True),
    ("postgresql://postgres:canary@db.zzzzzzzzzzzzzzzzzzzz.supabase.co:5432/postgres", False),
    ("postgresql://postgres.abcdefghijklmnopqrst:canary@aws-0-eu.pooler.supabase.com:5432/postgres", True),
    ("postgresql://postgres.zzzzzzzzzzzzzzzzzzzz:canary@aws-0-eu.pooler.supabase.com:5432/postgres", False),
    ("postgresql://postgres:canary@db.example.test/postgres", True),
    ("nonsense", True),
]


@pytest.mark.parametrize(("typed", "is_fine"), DATABASES)
def test_the_database_of_another_project_is_named(typed, is_fine):
    problem = values.check_database_project(typed, URL)
    assert (problem is None) == is_fine
    assert "canary" not in str(problem)


def test_space_and_one_pair_of_quotes_around_a_value_are_dropped():
    assert [values.clean(text) for text in (" a ", "'a'", '"a"', "`a`", "' a '", "'", "''", "'a\"")] == [
        "a", "a", "a", "a", "a", "'", "", "'a\"",
    ]  # fmt: skip


def test_a_link_stays_and_the_file_that_it_names_is_replaced(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    link = tmp_path / ".env.hangar"
    link.symlink_to(kept / "secrets")
    add_to_env_file({"FLY_API_TOKEN": "fm2_x"}, link)
    assert link.is_symlink()
    assert read_env_file(link) == {"FLY_API_TOKEN": "fm2_x"}
    assert (kept / "secrets").stat().st_mode & 0o777 == 0o600


def test_a_folder_or_a_device_is_never_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(ProjectFileError, match="it is no file"):
            write_private(tmp_path / name, "x")
        assert not (tmp_path / name).is_file()


@pytest.mark.parametrize("value", ["a'b", "a\nb", "a\rb", "a\x1bb", "a\x7fb"])
def test_a_value_that_the_file_cannot_hold_is_refused_without_showing_it(tmp_path, value):
    with pytest.raises(ProjectFileError) as refused:
        add_to_env_file({"SUPABASE_DB_URL": value}, tmp_path / ".env.hangar")
    assert value not in str(refused.value)
    assert not (tmp_path / ".env.hangar").exists()


def test_a_tier_with_any_character_survives_hangar_toml():
    plans = {"prö 😀 \x7f\t.": {"cpu_kind": "shared", "cpu_count": "1", "memory_mb": "256"}}
    assert read_plans(tomllib.loads(format_plans(plans))) == plans
