"""`hangar deploy compose` against a stand-in of docker that refuses unknown flags, and a real installation."""

import json

import pytest

from tests.support.vendors.docker import SERVICES


@pytest.mark.slow
def test_one_run_starts_every_service_and_a_second_changes_nothing(deploy_world):
    deploy_world.hangar("deploy", "compose")
    assert len(deploy_world.tool("docker")["labels"]["hangar"]) == len(SERVICES)
    base = "https://hangar.example.test"
    assert json.loads(deploy_world.vault()["hangar_functions_url"])["health"] == f"{base}/health"
    assert f"GET {base}/" in deploy_world.asked
    calls = deploy_world.changes("docker")
    assert "Nothing was changed." in deploy_world.hangar("deploy", "compose")
    assert deploy_world.changes("docker") == calls


@pytest.mark.slow
@pytest.mark.parametrize("words", [("build",), ("compose", "up")])
def test_a_failure_names_the_step_and_repeating_continues(deploy_world, words):
    deploy_world.memory.fail(*words)
    assert "Then repeat `hangar deploy compose`" in deploy_world.hangar("deploy", "compose", code=1)
    deploy_world.hangar("deploy", "compose")
    assert len(deploy_world.tool("docker")["labels"]["hangar"]) == len(SERVICES)


@pytest.mark.slow
def test_docker_without_its_compose_plugin_is_named(deploy_world):
    with deploy_world.memory.open() as document:
        document["docker"] = {"no_compose": True}
    assert "docker has no compose plugin" in deploy_world.hangar("deploy", "compose", code=2)
    deploy_world.offer("flyctl")
    assert "docker is not installed" in deploy_world.hangar("deploy", "compose", code=2)


def test_a_host_with_a_scheme_is_refused(deploy_world):
    said = deploy_world.hangar("deploy", "compose", "--host", "https://hangar.example.test", code=2)
    assert "expected a host name like hangar.example.com, without https://" in said
