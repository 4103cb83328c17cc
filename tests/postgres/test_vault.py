"""The local Vault against the surface of supabase_vault 0.3."""

import psycopg
import pytest

pytestmark = pytest.mark.every_postgres


def test_a_secret_comes_back_decrypted_and_is_not_stored_as_it_is(bare_database, connect):
    session = connect(bare_database, "postgres")
    secret = "ä long secret, " * 20
    (number,) = session.execute("select vault.create_secret(%s, 'one', 'what for')", (secret,)).fetchone()
    found = session.execute("select id, name, description, decrypted_secret, secret from vault.decrypted_secrets")
    assert (row := found.fetchone())[:4] == (number, "one", "what for", secret)
    assert secret not in row[4]


def test_a_name_is_unique_where_there_is_one(bare_database, connect):
    """create_secret is no upsert: rotation goes through update_secret."""
    session = connect(bare_database, "postgres")
    session.execute("select vault.create_secret('a', 'one'), vault.create_secret('b'), vault.create_secret('c')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        session.execute("select vault.create_secret('d', 'one')")


def test_update_changes_what_is_given_and_nothing_else(bare_database, connect):
    session = connect(bare_database, "postgres")
    (number,) = session.execute("select vault.create_secret('a', 'one', 'what for')").fetchone()
    session.execute("select vault.update_secret(%s, 'b')", (number,))
    values = "select decrypted_secret, name, description, updated_at > created_at from vault.decrypted_secrets"
    assert session.execute(values).fetchall() == [("b", "one", "what for", True)]
    session.execute("select vault.update_secret(gen_random_uuid(), 'x')")  # nothing there, nothing raised
    session.execute("select vault.update_secret(%s, new_name := 'two')", (number,))
    assert session.execute(values).fetchall() == [("b", "two", "what for", True)]


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_users_cannot_reach_it(bare_database, connect, role):
    for statement in (
        "select from vault.secrets",
        "select from vault.decrypted_secrets",
        "select vault.create_secret('a')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connect(bare_database, role).execute(statement)


def test_the_table_is_written_only_through_the_functions(bare_database, connect):
    for role in ("postgres", "service_role"):
        session = connect(bare_database, role)
        session.execute("select vault.create_secret('a')")
        assert session.execute("select count(*) from vault.decrypted_secrets").fetchone()[0] > 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("update vault.secrets set secret = 'x'")
