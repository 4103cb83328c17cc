"""What `hangar deploy` refuses before its first step: files and addresses that contradict each other or make no sense."""

from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest

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


def test_a_database_url_without_hangar_is_refused(deploy_world, postgres):
    with other_database(postgres, migrations=False) as (url, _):
        deploy_world.monkeypatch.setenv("SUPABASE_DB_URL", url)
        assert "has no installation of Hangar" in deploy_world.hangar("deploy", "compose", code=2)
