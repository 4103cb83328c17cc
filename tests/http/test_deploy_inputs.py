"""What `hangar deploy` refuses before its first step: files and addresses that contradict each other or make no sense."""

from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest

from ops.project_files import hold_folder
from tests.support.databases import drop_database, fresh_database


@contextmanager
def other_database(postgres, *, migrations):
    url = fresh_database(postgres, migrations=migrations, seed=migrations)
    owner = url.replace("supabase_admin@", "postgres@")
    try:
        with psycopg.connect(owner, autocommit=True) as session:
            if migrations:
                session.execute("update hangar.settings set installation_id = %s", (uuid4(),))
            yield owner, session
    finally:
        drop_database(url)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("compose",), ("compose", "--dry-run"), ("fly", "--dry-run")])
def test_a_database_url_of_another_installation_is_refused_and_its_vault_stays(deploy_world, postgres, words):
    """Its triggers would otherwise call the functions of this installation, with a signature that they accept."""
    with other_database(postgres, migrations=True) as (url, session):
        deploy_world.monkeypatch.setenv("SUPABASE_DB_URL", url)
        said = deploy_world.hangar("deploy", *words, code=2)
        assert "SUPABASE_DB_URL and SUPABASE_URL lead to different databases" in said
        assert session.execute("select count(*) from vault.secrets").fetchone() == (0,)
    assert deploy_world.vault() == {}
    assert deploy_world.changes("docker") == deploy_world.changes("flyctl") == []


@pytest.mark.slow
def test_a_database_url_without_hangar_is_refused(deploy_world, postgres):
    with other_database(postgres, migrations=False) as (url, _):
        deploy_world.monkeypatch.setenv("SUPABASE_DB_URL", url)
        assert "has no installation of Hangar" in deploy_world.hangar("deploy", "compose", code=2)


MISTYPED = [
    (
        "[backend]",
        "[backnd]",
        "hangar.toml has 'backnd', which means nothing there; known are backend, archive, deploy",
    ),
    (
        "regions =",
        "region =",
        "hangar.toml has 'region', which means nothing under [backend]; known are image, regions",
    ),
    (
        "host =",
        "hosts =",
        "hangar.toml has 'hosts', which means nothing under [deploy.compose]; known are host, name, image",
    ),
    ("[deploy.compose]", "[deploy.docker]", "hangar.toml has 'docker', which means nothing under [deploy]"),
    (
        '"sin,nrt"',
        '"Singapore"',
        "regions under [backend] in hangar.toml is 'Singapore': region 'singapore' does not exist on Fly",
    ),
    (
        "[backend]",
        '[plans.gold]\nmemory_mb = "NaN"\n[backend]',
        "memory_mb of the plan gold must be a number of MB, not 'NaN'",
    ),
    ("[backend]", '[plans.gold]\ndedicated = "maybe"\n[backend]', "dedicated of the plan gold must be true or false"),
    (
        "[backend]",
        '[plans.gold]\nprice_usd = "29,90"\n[backend]',
        "price_usd of the plan gold must be an amount in USD",
    ),
    ("[backend]", '[plans." gold"]\n[backend]', "' gold' is no tier"),
    (
        "[backend]",
        '[plans.gold]\ncpu_kind = "shared"\ncpu_count = "3"\nmemory_mb = "1024"\n[backend]',
        "the plan gold: 3 shared vCPU does not exist on Fly",
    ),
]


@pytest.mark.parametrize(("right", "typed", "says"), MISTYPED)
def test_what_is_mistyped_in_hangar_toml_is_named_before_anything_is_done(deploy_world, right, typed, says):
    """A name that is not known was as if it were not there, and a wrong value ended the command in its middle."""
    path = deploy_world.folder / "hangar.toml"
    assert right in path.read_text()
    path.write_text(path.read_text().replace(right, typed, 1))
    assert says in deploy_world.hangar("deploy", "compose", code=2)
    assert deploy_world.changes("docker") == []


def test_each_setting_that_is_wrong_has_a_sentence_of_its_own(deploy_world):
    for name in ("HANGAR_WEBHOOK_SECRET", "HANGAR_STATIC_SECRET"):
        deploy_world.monkeypatch.setenv(name, "canary")
    said = deploy_world.hangar("deploy", "compose", code=2)
    assert ". Run `hangar init`, or set them in the environment" in said
    assert "canary" not in said


def test_beside_an_init_or_another_deployment_it_is_refused_and_a_dry_run_is_not(deploy_world):
    """Two deployments would write the same file and the same secrets of Vault."""
    with hold_folder(deploy_world.folder):
        said = deploy_world.hangar("deploy", "compose", code=2)
        assert "another `hangar init` or `hangar deploy` is at work in this folder" in said
        assert deploy_world.changes("docker") == []
        deploy_world.hangar("deploy", "compose", "--dry-run")
    deploy_world.hangar("deploy", "compose")
