"""`hangar deploy cloud-run` against a stand-in of gcloud that refuses unknown flags, and a real installation."""

import json

import pytest

from ops.deploy.common import FUNCTIONS
from tests.support.vendors.gcloud import NUMBER

URLS = {name: f"https://hangar-{name}-{NUMBER}.asia-southeast1.run.app" for name in FUNCTIONS}


@pytest.mark.slow
def test_one_run_brings_four_public_services_with_accounts_of_their_own_and_a_schedule(deploy_world):
    """The stand-in starts a service only with settings that the functions accept, read by its own account."""
    deploy_world.hangar("deploy", "cloud-run")
    held = deploy_world.tool("gcloud")
    assert sorted(held["services"]) == sorted(f"hangar-{name}" for name in FUNCTIONS)
    assert sorted(held["accounts"]) == sorted(f"hangar-{name}" for name in FUNCTIONS)
    for service in held["services"].values():
        assert service["metadata"]["annotations"] == {"run.googleapis.com/invoker-iam-disabled": "true"}
    assert json.loads(deploy_world.vault()["hangar_functions_url"]) == {k: v for k, v in URLS.items() if k != "admin"}
    jobs = {name: (job["schedule"], job["httpTarget"]["uri"]) for name, job in held["jobs"].items()}
    assert jobs == {
        "hangar-sweep": ("*/5 * * * *", f"{URLS['health']}/"),
        "hangar-drain": ("* * * * *", f"{URLS['health']}/"),
    }
    schedules = deploy_world.sql(
        "select schedule from cron.job where jobname in ('hangar-drain', 'check-fly-apps-health')"
    )
    assert {schedule for schedule, _ in jobs.values()} == {schedule for (schedule,) in schedules}
    assert deploy_world.asked[-4:] == [f"POST {URLS[n]}/" for n in FUNCTIONS[:3]] + [f"GET {URLS['admin']}/"]


@pytest.mark.slow
def test_a_second_run_changes_nothing(deploy_world):
    deploy_world.hangar("deploy", "cloud-run")
    before, calls = deploy_world.tool("gcloud"), deploy_world.changes("gcloud")
    assert "Nothing was changed." in deploy_world.hangar("deploy", "cloud-run")
    assert (deploy_world.tool("gcloud"), deploy_world.changes("gcloud")) == (before, calls)


@pytest.mark.parametrize("fault", ["refuse", "lose"])
@pytest.mark.parametrize(
    "words", [("services", "enable"), ("builds",), ("create", "hangar-webhook-secret"), ("add", "hangar-fly-api-token"),
              ("deploy", "hangar-health"), ("jobs", "create", "hangar-drain")]
)  # fmt: skip
@pytest.mark.slow
def test_a_failure_names_the_step_and_repeating_continues(deploy_world, words, fault):
    deploy_world.memory.fail(*words, fault=fault)
    said = deploy_world.hangar("deploy", "cloud-run", code=1)
    assert "failed: " in said
    assert "Then repeat `hangar deploy cloud-run`" in said
    deploy_world.hangar("deploy", "cloud-run")
    held = deploy_world.tool("gcloud")
    assert (len(held["services"]), len(held["jobs"]), len(held["images"])) == (4, 2, 1)
    assert {len(secret["versions"]) for secret in held["secrets"].values()} == {1}


@pytest.mark.slow
def test_a_changed_secret_is_a_new_version_that_every_service_gets(deploy_world):
    deploy_world.hangar("deploy", "cloud-run")
    before = len(deploy_world.changes("gcloud"))
    deploy_world.monkeypatch.setenv("FLY_API_TOKEN", "FlyV1 fm2_canary_second0000")
    deploy_world.hangar("deploy", "cloud-run")
    repeated = deploy_world.changes("gcloud")[before:]
    assert [line.split()[:3] for line in repeated] == [["secrets", "versions", "add"]] + [
        ["run", "deploy", f"hangar-{name}"] for name in FUNCTIONS
    ]
    assert all("FLY_API_TOKEN=hangar-fly-api-token:2" in line for line in repeated[1:])


@pytest.mark.slow
def test_a_changed_static_secret_reaches_cloud_scheduler_too(deploy_world):
    deploy_world.hangar("deploy", "cloud-run")
    deploy_world.monkeypatch.setenv("HANGAR_STATIC_SECRET", "another-static-secret-0123456789")
    deploy_world.hangar("deploy", "cloud-run")
    headers = {job["httpTarget"]["headers"]["X-Hangar-Secret"] for job in deploy_world.tool("gcloud")["jobs"].values()}
    assert headers == {"another-static-secret-0123456789"}


@pytest.mark.slow
def test_the_dry_run_of_a_second_run_shows_what_is_done(deploy_world):
    deploy_world.hangar("deploy", "cloud-run")
    plan = json.loads(deploy_world.hangar("deploy", "cloud-run", "--dry-run", "--json"))
    assert [step["name"] for step in plan["steps"] if not step["done"]] == [f"check-{name}" for name in FUNCTIONS]


@pytest.mark.slow
def test_without_gcloud_nothing_is_done(deploy_world):
    deploy_world.offer("flyctl")
    assert "gcloud is not installed" in deploy_world.hangar("deploy", "cloud-run", code=2)
    assert "PROJECT_NUMBER" in deploy_world.hangar("deploy", "cloud-run", "--dry-run")


@pytest.mark.slow
def test_a_project_that_does_not_exist_is_named(deploy_world):
    said = deploy_world.hangar("deploy", "cloud-run", "--project", "other-project", code=1)
    assert "no such project" in said
    assert "Nothing was changed" in said
