"""`hangar init` against a real project and a small Fly and registry on this machine."""

import stat

import psycopg
import pytest

from local.http_server import Response, Server
from ops.project_files import hold_folder, read_env_file, read_project_file
from shared.settings.config import Config
from tests.support.registry import LoopbackRegistry


@pytest.fixture
def new_project(deploy_world):
    """The operator's folder before anything: secrets in the environment, no file."""
    for name in (".env.hangar", "hangar.toml"):
        (deploy_world.folder / name).unlink()
    for name in ("SUPABASE_SECRET_KEY", "SUPABASE_DB_URL", "FLY_API_TOKEN"):
        deploy_world.monkeypatch.setenv(name, deploy_world.secrets()[name])

    def answer(request):
        known = request.headers.get("authorization", "").endswith("fm2_canary0000000000")
        return Response(200, b'{"apps": [], "total_apps": 0}') if known else Response(401, b'{"error": "unauthorized"}')

    server = Server(answer)
    server.start()
    deploy_world.monkeypatch.setenv("FLY_API_URL", server.url)
    with LoopbackRegistry() as registry:
        deploy_world.image = f"{registry.host}/acme/missing:1"
        yield deploy_world
    server.stop()


def words(world, **other):
    flags = {
        "--supabase-url": world.gateway_url,
        "--publishable-key": "sb_publishable_0000000000",
        "--fly-org": "acme",
        "--image": "registry.example.test/acme/backend:1",
        **{f"--{name.replace('_', '-')}": value for name, value in other.items()},
    }
    return ["init", "--yes", *(word for pair in flags.items() for word in pair)]


def files(world):
    return [each.name for each in world.folder.iterdir()]


@pytest.mark.slow
def test_it_writes_what_the_functions_start_with_and_keeps_it_the_second_time(new_project):
    said = new_project.hangar(*words(new_project))
    path = new_project.folder / ".env.hangar"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found, project = read_env_file(path), read_project_file(new_project.folder / "hangar.toml")
    Config.from_env({**found, **project["functions"], "HANGAR_INSTALLATION_ID": "33333333-3333-4333-8333-333333333333"})
    assert project["backend"] == {"image": "registry.example.test/acme/backend:1", "regions": "sin"}
    before = path.read_text()
    again = new_project.hangar(*words(new_project))
    assert path.read_text() == before
    assert ".env.hangar: HANGAR_WEBHOOK_SECRET kept" in again
    toml = (new_project.folder / "hangar.toml").read_text()
    secrets = [value for name, value in found.items() if name != "SUPABASE_URL"]
    assert [value for value in secrets if value in said + again + toml] == []


def test_a_second_one_in_the_same_folder_is_refused_before_it_makes_secrets(new_project):
    with hold_folder(new_project.folder):
        said = new_project.hangar(*words(new_project), code=2)
    assert "another `hangar init` or `hangar deploy` is at work in this folder" in said
    assert files(new_project) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "environ", "expected"),
    [
        ({"supabase_url": "nonsense"}, {}, "SUPABASE_URL is wrong: expected a URL"),
        ({"publishable_key": "nonsense"}, {}, "SUPABASE_PUBLISHABLE_KEY is wrong: expected a Supabase publishable key"),
        ({"image": "no image"}, {}, "--image is no image"),
        ({"regions": "Singapore"}, {}, "--regions is 'Singapore': region 'singapore' does not exist on Fly"),
        ({"plan": "pro"}, {}, "--plan is 'pro': expected TIER=SIZE:MEMORY_MB"),
        ({"plan": "pro=shared-cpu-3x:1024"}, {}, "--plan pro: 3 shared vCPU does not exist on Fly"),
        ({"plan": "pro=none,pro=none"}, {}, "--plan names the tier pro twice"),
        ({}, {"HANGAR_ALERT_WEBHOOK_URL": "canary"}, "HANGAR_ALERT_WEBHOOK_URL is wrong: expected"),
        ({}, {"SUPABASE_SECRET_KEY": "sb_secret_canary_wrong_0000"}, "SUPABASE_SECRET_KEY: the project at"),
        (
            {},
            {"SUPABASE_DB_URL": "postgresql://postgres:canary@127.0.0.1:9/x"},
            "SUPABASE_DB_URL: cannot connect to x on 127.0.0.1:9 as postgres: nothing listens",
        ),
        ({}, {"SUPABASE_DB_URL": "postgres:canary@127.0.0.1/x"}, "hangar: SUPABASE_DB_URL is no Postgres URL"),
        (
            {},
            {"SUPABASE_DB_URL": "postgresql://postgres:canary@127.0.0.1:6543/x"},
            "hangar: SUPABASE_DB_URL names port 6543",
        ),
        ({}, {"FLY_API_TOKEN": "FlyV1 fm2_canary_wrong_00000"}, "FLY_API_TOKEN or --fly-org acme"),
    ],
)
def test_a_wrong_value_is_named_without_a_secret_and_nothing_is_written(new_project, other, environ, expected):
    for name, value in environ.items():
        new_project.monkeypatch.setenv(name, value)
    said = new_project.hangar(*words(new_project, **other), code=2)
    assert expected in said
    assert "canary" not in said
    assert files(new_project) == []


@pytest.mark.slow
def test_plans_and_the_alert_address_are_written_and_the_deployment_adds_the_plans(new_project):
    """Plans into hangar.toml, the address, which is a credential, into .env.hangar. A plan that exists is not changed."""
    url = "https://hooks.example.test/canary-path"
    new_project.monkeypatch.setenv("HANGAR_ALERT_WEBHOOK_URL", url)
    plans = {"pro": "shared-cpu-1x:256", "team": "performance-cpu-2x:4096:99.50", "starter": "none"}
    new_project.hangar(*words(new_project, plan=",".join(f"{tier}={size}" for tier, size in plans.items())))
    toml = new_project.folder / "hangar.toml"
    assert url not in toml.read_text()
    assert read_env_file(new_project.folder / ".env.hangar")["HANGAR_ALERT_WEBHOOK_URL"] == url
    assert read_project_file(toml)["plans"]["team"] == {
        "cpu_kind": "performance", "cpu_count": "2", "memory_mb": "4096", "price_usd": "99.50",
    }  # fmt: skip
    with psycopg.connect(new_project.secrets()["SUPABASE_DB_URL"], autocommit=True) as session:
        before = session.execute("select memory_mb from fly_plans where tier = 'pro'").fetchone()
        said = new_project.hangar("deploy", "compose", "--host", "hangar.example.test")
        assert "hangar plans set team --create cpu_kind=performance cpu_count=2 memory_mb=4096 price_usd=99.50" in said
        added = session.execute(
            "select tier, dedicated, cpu_count, memory_mb from fly_plans where tier in ('team', 'starter') order by tier desc"
        ).fetchall()
        assert [added[0], added[1][:2]] == [("team", True, 2, 4096), ("starter", False)]
        assert session.execute("select memory_mb from fly_plans where tier = 'pro'").fetchone() == before
        assert "done already" in new_project.hangar("deploy", "compose", "--host", "hangar.example.test")
        session.execute("delete from fly_plans where tier in ('team', 'starter')")


@pytest.mark.slow
def test_at_a_terminal_every_value_is_asked_for_and_checked_before_the_next(new_project, monkeypatch):
    """A wrong answer is named and asked again; an empty alert address and no plan are allowed."""
    image = "registry.example.test/acme/backend:1"
    plans = ["pro", "pro=shared-cpu-1x:256"]
    answers = iter([new_project.gateway_url, "sb_publishable_0000000000", "acme", image, "sin", *plans, ""])
    asked = []

    def prompt(label, **_):
        asked.append(label)
        return next(answers)

    monkeypatch.setattr("ops.commands.init.can_ask", lambda: True)
    monkeypatch.setattr("click.prompt", prompt)
    said = new_project.hangar("init")
    assert [label.split(",")[0] for label in asked[-3:]] == ["Plans", "Plans", "Alert address"]
    assert "--plan is 'pro': expected" in said
    assert read_project_file(new_project.folder / "hangar.toml")["plans"]["pro"]["memory_mb"] == "256"
    assert "HANGAR_ALERT_WEBHOOK_URL" not in read_env_file(new_project.folder / ".env.hangar")


def test_an_image_that_the_registry_lacks_is_refused(new_project):
    assert "--image" in new_project.hangar(*words(new_project, image=new_project.image), code=2)
    assert files(new_project) == []


@pytest.mark.slow
def test_it_shows_where_the_subscriptions_are_and_writes_nothing_about_it(new_project):
    said = new_project.hangar(*words(new_project))
    assert "Your subscriptions: public.user_subscriptions is bound." in said
    with psycopg.connect(new_project.secrets()["SUPABASE_DB_URL"], autocommit=True) as session:
        session.execute("select hangar.unbind()")
        session.execute("create table public.seats (member_id uuid, plan text, state text, paid_until date)")
        session.execute("insert into public.seats values (gen_random_uuid(), 'pro', 'lifetime', '2999-01-01')")
        said = new_project.hangar(*words(new_project))
        session.execute("drop table public.seats")
        session.execute("select hangar.bind_subscriptions('public.user_subscriptions')")
    assert "2 candidates, the best first" in said
    assert "1. public.user_subscriptions" in said
    assert """select hangar.bind_subscriptions('public.seats', '{"user_id": "member_id", "tier": "plan",""" in said
    assert "unknown: the status has no rule" in said
    assert "seats" not in (new_project.folder / "hangar.toml").read_text()
    assert "seats" not in (new_project.folder / ".env.hangar").read_text()
