"""`hangar deploy fly` against a stand-in of flyctl that refuses unknown flags, and a real installation."""

import json
import signal

import pytest

from ops.deploy.common import FUNCTIONS
from tests.support.vendors.flyctl import parse_secrets

APPS = [f"acme-hangar-{function}" for function in FUNCTIONS]


@pytest.mark.slow
def test_one_run_brings_four_apps_with_valid_settings_and_tells_the_database_where_they_are(deploy_world):
    """The stand-in starts an app only with settings that the functions accept."""
    said = deploy_world.hangar("deploy", "fly")
    apps = deploy_world.tool("fly")["apps"]
    assert sorted(apps) == sorted(APPS)
    for function, name in zip(FUNCTIONS, APPS, strict=True):
        [machine] = apps[name]["machines"]
        assert apps[name]["org"] == "acme-ops"
        assert machine["config"]["env"]["FUNCTION_TARGET"] == function
        assert machine["region"] == "sin"
    images = {machine["config"]["image"] for app in apps.values() for machine in app["machines"]}
    assert len(images) == 1
    urls = {name: f"https://acme-hangar-{name}.fly.dev" for name in ("provision", "deprovision", "health")}
    assert json.loads(deploy_world.vault()["hangar_functions_url"]) == urls
    assert deploy_world.vault()["hangar_webhook_secret"] == deploy_world.secrets()["HANGAR_WEBHOOK_SECRET"]
    assert deploy_world.sql("select fly_org_slug, default_image, default_region from hangar.settings") == [
        ("acme", "registry.example.test/acme/backend:1", "sin,nrt")
    ]
    assert deploy_world.asked[-4:] == [f"POST {url}/" for url in urls.values()] + [
        "GET https://acme-hangar-admin.fly.dev/"
    ]
    assert "Deployed." in said


@pytest.mark.slow
def test_people_are_served_by_machines_that_stop_and_the_database_by_one_that_does_not(deploy_world):
    deploy_world.hangar("deploy", "fly")
    apps = deploy_world.tool("fly")["apps"]
    least = {name: app["machines"][0]["config"]["services"][0]["min_machines_running"] for name, app in apps.items()}
    assert least == {name: 1 if name == "acme-hangar-health" else 0 for name in APPS}


@pytest.mark.slow
def test_a_second_run_changes_nothing(deploy_world):
    deploy_world.hangar("deploy", "fly")
    before, calls = deploy_world.tool("fly"), deploy_world.changes("fly")
    vault = deploy_world.sql("select id, updated_at from vault.secrets order by id")
    said = deploy_world.hangar("deploy", "fly")
    assert "Deployed already. Nothing was changed." in said
    assert (deploy_world.tool("fly"), deploy_world.changes("fly")) == (before, calls)
    assert deploy_world.sql("select id, updated_at from vault.secrets order by id") == vault


@pytest.mark.slow
def test_a_dry_run_prints_every_command_as_it_is_run_later_and_changes_nothing(deploy_world):
    plan = json.loads(deploy_world.hangar("deploy", "fly", "--dry-run", "--json"))
    text = deploy_world.hangar("deploy", "fly", "--dry-run")
    assert (deploy_world.changes("fly"), deploy_world.vault()) == ([], {})
    deploy_world.hangar("deploy", "fly")
    planned = [step["command"] for step in plan["steps"] if "command" in step]
    ran = deploy_world.changes("fly")
    assert ran == [" ".join(argv[1:]) for argv in planned]
    assert all(step["runs"][0] in text for step in plan["steps"])


@pytest.mark.parametrize("nth", [0, 4, 5, 6, 12])
@pytest.mark.parametrize("fault", ["refuse", "lose"])
@pytest.mark.slow
def test_a_failure_names_the_step_and_repeating_continues(deploy_world, nth, fault):
    """At an app, the image, the secrets and the deployment of the first, and the last: refused, or with a lost answer."""
    plan = json.loads(deploy_world.hangar("deploy", "fly", "--dry-run", "--json"))
    commands = [(number, step) for number, step in enumerate(plan["steps"], 1) if "command" in step]
    assert len(commands) == 13
    number, step = commands[nth]
    deploy_world.memory.fail(*step["command"][1:], fault=fault)
    said = deploy_world.hangar("deploy", "fly", code=1)
    assert f"Step {number} failed: {step['purpose']}. What to do: " in said
    assert "Then repeat `hangar deploy fly`" in said
    assert "hangar_functions_url" not in deploy_world.vault()
    deploy_world.hangar("deploy", "fly")
    apps = deploy_world.tool("fly")["apps"]
    assert {name: len(app["machines"]) for name, app in apps.items()} == dict.fromkeys(APPS, 1)
    assert "hangar_functions_url" in deploy_world.vault()


@pytest.mark.parametrize(
    "words", [("apps", "create", "acme-hangar-health"), ("--build-only",), ("--env", "acme-hangar-admin")]
)
@pytest.mark.slow
def test_a_run_that_is_killed_is_continued_by_the_next(deploy_world, words):
    deploy_world.memory.fail(*words, fault="hang")
    with deploy_world.start("deploy", "fly") as process:
        assert any("still working" in line for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    deploy_world.hangar("deploy", "fly")
    assert {name: len(app["machines"]) for name, app in deploy_world.tool("fly")["apps"].items()} == dict.fromkeys(
        APPS, 1
    )


@pytest.mark.slow
def test_a_changed_secret_reaches_every_app_and_nothing_else_is_repeated(deploy_world):
    deploy_world.hangar("deploy", "fly")
    before = len(deploy_world.changes("fly"))
    deploy_world.monkeypatch.setenv("HANGAR_STATIC_SECRET", "another-static-secret-0123456789")
    deploy_world.hangar("deploy", "fly")
    repeated = [line.split()[:2] for line in deploy_world.changes("fly")[before:]]
    assert repeated == [["secrets", "import"], ["deploy", "--app"]] * 4
    values = {app["secrets"]["HANGAR_STATIC_SECRET"] for app in deploy_world.tool("fly")["apps"].values()}
    assert values == {"another-static-secret-0123456789"}


@pytest.mark.slow
def test_a_spare_machine_is_removed(deploy_world):
    deploy_world.hangar("deploy", "fly")
    with deploy_world.memory.open() as document:
        machines = document["fly"]["apps"]["acme-hangar-admin"]["machines"]
        machines.append(machines[0])
    deploy_world.hangar("deploy", "fly")
    assert len(deploy_world.tool("fly")["apps"]["acme-hangar-admin"]["machines"]) == 1


@pytest.mark.slow
def test_a_name_that_somebody_else_has_is_explained(deploy_world):
    with deploy_world.memory.open() as document:
        document["fly"] = {"taken": ["acme-hangar-provision"]}
    said = deploy_world.hangar("deploy", "fly", code=1)
    assert "Name has already been taken" in said
    assert "choose another --name" in said


@pytest.mark.slow
def test_without_flyctl_nothing_is_done_and_the_plan_can_still_be_read(deploy_world):
    deploy_world.offer("gcloud", "docker")
    said = deploy_world.hangar("deploy", "fly", code=2)
    assert "flyctl is not installed" in said
    assert "https://fly.io/docs/flyctl/install/" in said
    assert deploy_world.vault() == {}
    assert "fly apps create acme-hangar-health --org acme-ops" in deploy_world.hangar("deploy", "fly", "--dry-run")


@pytest.mark.slow
def test_without_a_database_url_the_sql_is_left_to_the_operator_without_the_secret(deploy_world):
    lines = (deploy_world.folder / ".env.hangar").read_text().splitlines()
    (deploy_world.folder / ".env.hangar").write_text("\n".join(each for each in lines if "_DB_URL" not in each))
    said = deploy_world.hangar("deploy", "fly", code=1)
    assert "is left to you" in said
    assert "vault.create_secret(<HANGAR_WEBHOOK_SECRET of .env.hangar>, 'hangar_webhook_secret')" in said
    assert deploy_world.secrets()["HANGAR_WEBHOOK_SECRET"] not in said


@pytest.mark.slow
def test_a_function_that_does_not_answer_is_named_with_its_log_and_the_others_are_checked_too(deploy_world):
    deploy_world.statuses["https://acme-hangar-provision.fly.dev/"] = 503
    said = deploy_world.hangar("deploy", "fly", code=1)
    assert "https://acme-hangar-provision.fly.dev/ answered 503, expected 401" in said
    assert "logs --app acme-hangar-provision" in said
    assert len({line for line in deploy_world.asked if "provision" not in line}) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--name", "Acme"), "--name is 'Acme': expected 2 to 40 lower-case letters"),
        (("--region", "singapore"), "--region is 'singapore': expected one region of Fly"),
        (("--image", "no image"), "--image is no image"),
        (("--name", "vyx-user-ops"), "begins like the users' apps (app_prefix=vyx-user)"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed_and_nothing_is_done(deploy_world, words, expected):
    assert expected in deploy_world.hangar("deploy", "fly", *words, code=2)
    assert deploy_world.changes("fly") == []


@pytest.mark.parametrize("name", ["SUPABASE_SECRET_KEY", "FLY_API_TOKEN", "HANGAR_USER_TOKEN_KEY"])
def test_a_missing_or_wrong_secret_is_named_and_never_shown(deploy_world, name):
    deploy_world.monkeypatch.setenv(name, "canary value")
    said = deploy_world.hangar("deploy", "fly", code=2)
    assert name in said
    assert "canary value" not in said
    assert deploy_world.changes("fly") == []


@pytest.mark.slow
def test_settings_that_an_operator_chose_later_stay(deploy_world):
    deploy_world.hangar("deploy", "fly")
    deploy_world.hangar("settings", "set", "default_region=fra", "default_image=registry.example.test/acme/backend:2")
    deploy_world.hangar("deploy", "fly")
    assert deploy_world.sql("select default_image, default_region from hangar.settings") == [
        ("registry.example.test/acme/backend:2", "fra")
    ]


@pytest.mark.slow
def test_another_organisation_than_that_of_the_installation_is_refused(deploy_world):
    deploy_world.hangar("deploy", "fly")
    deploy_world.monkeypatch.setenv("FLY_ORG_SLUG", "other")
    said = deploy_world.hangar("deploy", "fly", code=2)
    assert "FLY_ORG_SLUG is other, but the installation has fly_org_slug=acme" in said


def test_a_private_key_of_several_lines_arrives_unchanged(deploy_world):
    pem = "-----BEGIN PRIVATE KEY-----\nMIGH=\n-----END PRIVATE KEY-----"
    assert parse_secrets(f'A=1\nKEY="""{pem}"""\nB=2\n') == {"A": "1", "KEY": pem, "B": "2"}


@pytest.mark.parametrize(("target", "tool"), [("fly", "fly"), ("compose", "docker")])
def test_without_the_source_the_missing_files_are_named_and_nothing_is_done(deploy_world, target, tool):
    """A package that was installed from a wheel has no deploy folder; an image alone is not enough for these two."""
    deploy_world.monkeypatch.setattr("ops.commands.deploy.find_source", lambda _: None)
    said = deploy_world.hangar("deploy", target, "--image", "registry.example.test/hangar:1", code=2)
    assert "run this in a checkout of the repository" in said
    assert deploy_world.changes(tool) == []
