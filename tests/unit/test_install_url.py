"""The Postgres URL of `hangar install`: its forms, what is said when it is wrong, and that its password stays hidden."""

import pytest
from click.testing import CliRunner

from ops.cli import build_cli
from ops.install.database_url import parse_database_url, read_database_url
from ops.install.errors import WrongInput

SECRET = "Tr0ub4dor"


def read(url, source="SUPABASE_DB_URL"):
    return parse_database_url(url, source)


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("postgresql://postgres:x@db.example.co:5432/postgres", "postgres on db.example.co:5432 as postgres"),
        ("postgres://postgres:x@db.example.co/app", "app on db.example.co:5432 as postgres"),
        (
            " 'postgresql://postgres.abc:x@pooler.example.com:5432/postgres' \n",
            "postgres on pooler.example.com:5432 as postgres.abc",
        ),
        ("postgresql+psycopg://owner@127.0.0.1:1/app?sslmode=disable", "app on 127.0.0.1:1 as owner"),
        ("postgresql://owner:x@host/app?schema=public&connection_limit=1", "app on host:5432 as owner"),
        ("postgresql://owner:x@[::1]:5433/app", "app on ::1:5433 as owner"),
    ],
)
def test_a_url_in_any_usual_form_is_read(url, label):
    assert read(url).label == label


def test_what_libpq_knows_is_kept_and_a_password_is_decoded():
    url = read("postgresql://owner:p%40ss%25word@host/app?sslmode=require&options=-c%20a%3Db")
    assert (url.password, url.parameters["sslmode"], url.parameters["options"]) == ("p@ss%word", "require", "-c a=b")
    assert "p@ss" not in repr(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"https://owner:{SECRET}@host/app", "is no Postgres URL"),
        (f"host=x password={SECRET}", "is no Postgres URL"),
        ("", "is no Postgres URL"),
        (f"postgresql://owner:a@{SECRET}@host/app", "%40"),
        (f"postgresql://owner:a/{SECRET}@host/app", "%2F"),
        (f"postgresql://owner:a?{SECRET}@host/app", "%3F"),
        (f"postgresql://owner:a#{SECRET}@host/app", "%23"),
        (f"postgresql://owner:{SECRET}%zz@host/app", "%25"),
        (f"postgresql://owner:{SECRET}@host/app?nonsense=1", "options that libpq knows"),
        (f"postgresql://owner:{SECRET}@host:port/app", "port"),
        (f"postgresql://owner:{SECRET}@host:99999/app", "port"),
        ("postgresql://postgres:[YOUR-PASSWORD]@host/app", "placeholder"),
        (f"postgresql://owner:{SECRET}@/app", "names no host"),
        ("postgresql://host/app", "names no role"),
        (f"postgresql://postgres.abc:{SECRET}@pooler.example.com:6543/postgres", "transaction pooler"),
        (f"postgresql://postgres:{SECRET}@host/postgres?pgbouncer=true", "transaction pooler"),
    ],
)
def test_a_wrong_url_is_named_by_its_source_and_its_password_is_not_shown(url, said):
    with pytest.raises(WrongInput, match="SUPABASE_DB_URL") as refused:
        read(url)
    assert said in str(refused.value)
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None  # libpq's own words may quote it


def test_the_option_comes_first_then_the_variables_in_their_order():
    environ = {"SUPABASE_DB_URL": "postgresql://a@b/first", "DATABASE_URL": "postgresql://a@b/second"}
    assert read_database_url("postgresql://a@b/option", environ).parameters["dbname"] == "option"
    assert read_database_url(None, environ).parameters["dbname"] == "first"
    assert read_database_url(None, environ | {"SUPABASE_DB_URL": " "}).parameters["dbname"] == "second"
    with pytest.raises(WrongInput, match="SUPABASE_DB_URL"):
        read_database_url(None, {})


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        (f"{'h' * 64}/app", "has a host that cannot be a name"),
        (f"{'h.' * 140}/app", "has a host that cannot be a name"),
        ("a..b/app", "has a host that cannot be a name"),
        ("host:9٣/app", "has a port that is no number"),
        ("host/app?connect_timeout=soon", "has a connect_timeout that is no number of seconds"),
    ],
)
def test_a_part_that_ends_the_driver_with_an_error_of_its_own_is_named(rest, says):
    with pytest.raises(WrongInput, match=says) as refused:
        read(f"postgresql://owner:{SECRET}@{rest}")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("command", ["install", "uninstall"])
@pytest.mark.parametrize(
    "url", [f"postgresql://owner:{SECRET}@127.0.0.1:1/app", f"postgresql://o:{SECRET}@no-such-host.invalid/app"]
)
def test_an_unreachable_server_is_one_line_with_what_to_do_and_no_password(command, url):
    result = CliRunner().invoke(build_cli(), [command, "--database-url", url, "--dry-run"])
    assert result.exit_code == 2
    assert result.output.startswith("hangar: cannot connect to app on ")
    assert result.output.count("\n") == 1
    assert "Check" in result.output
    assert SECRET not in result.output


def test_without_a_database_both_commands_say_which_variable_to_set(monkeypatch):
    for name in ("SUPABASE_DB_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for arguments in (["install"], ["uninstall"]):
        result = CliRunner().invoke(build_cli(), arguments)
        assert (result.exit_code, "SUPABASE_DB_URL" in result.output) == (2, True)


def test_a_folder_and_a_database_are_not_given_together(tmp_path):
    result = CliRunner().invoke(
        build_cli(), ["install", "--into", str(tmp_path), "--database-url", "postgresql://a@b/c"]
    )
    assert (result.exit_code, "not both" in result.output) == (2, True)
