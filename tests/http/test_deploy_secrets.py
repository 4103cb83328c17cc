"""No secret leaves `.env.hangar` but on the standard input of a vendor's command, or into Vault."""

import stat

import pytest

from ops.project_files import add_to_env_file


@pytest.mark.parametrize("target", ["fly", "cloud-run", "compose"])
@pytest.mark.slow
def test_no_secret_is_in_an_argument_an_output_or_a_file(deploy_world, target):
    """While every command works, and while one fails and repeats what it was given."""
    texts = deploy_world.secret_texts()
    outputs = [
        deploy_world.hangar("deploy", target, "--dry-run"),
        deploy_world.hangar("deploy", target, "--dry-run", "--json"),
    ]
    tool, words = {
        "fly": ("fly", ("secrets", "import")),
        "cloud-run": ("gcloud", ("versions", "add")),
        "compose": ("docker", ("compose", "up")),
    }[target]
    deploy_world.memory.fail(*words, fault="refuse")
    outputs += [deploy_world.hangar("deploy", target, code=1), deploy_world.hangar("deploy", target, "--json")]
    outputs.append(deploy_world.hangar("deploy", target))
    for each in deploy_world.memory.calls(tool):
        outputs += each["argv"]
        if "compose" not in each["argv"]:
            outputs += each["environ"].values()
    for path in deploy_world.folder.rglob("*"):
        if path.is_file() and path.name != ".env.hangar":
            outputs.append(path.read_text())
    found = {text for text in texts for output in outputs if text in output}
    assert found == set()
    assert any(
        texts[1] in each["stdin"] or texts[1] in str(each["environ"]) for each in deploy_world.memory.calls(tool)
    )


@pytest.mark.slow
def test_only_the_owner_can_read_the_file_with_the_secrets_after_a_deployment_wrote_into_it(deploy_world):
    deploy_world.hangar("deploy", "compose")
    path = deploy_world.folder / ".env.hangar"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "HANGAR_FUNCTIONS_URL=" in path.read_text()
    [[installation]] = deploy_world.sql("select installation_id::text from hangar.settings")
    assert f"HANGAR_INSTALLATION_ID={installation}\n" in path.read_text()
    assert [each.name for each in deploy_world.folder.iterdir() if each.name.startswith(".env.hangar.")] == []


@pytest.mark.slow
def test_a_folder_of_another_database_deploys_nothing(deploy_world):
    """A copy of the database must not get the functions of the original, nor the other way round."""
    deploy_world.hangar("deploy", "compose")
    path = deploy_world.folder / ".env.hangar"
    add_to_env_file({"HANGAR_INSTALLATION_ID": "33333333-3333-4333-8333-333333333333"}, path)
    calls = len(deploy_world.memory.calls("docker"))
    said = deploy_world.hangar("deploy", "compose", code=2)
    assert "HANGAR_INSTALLATION_ID of .env.hangar is 33333333-3333-4333-8333-333333333333, and the database is" in said
    assert len(deploy_world.memory.calls("docker")) == calls
