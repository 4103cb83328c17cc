"""The SQL of docs/deploy.md and docs/uninstall.md, in its order, as the role of Supabase's SQL editor."""

import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from local.supabase.postgres.database import migrate
from shared.settings.validators import static_secret, webhook_key
from tests.support.databases import as_role

ROOT = Path(__file__).resolve().parents[2]
PAGE = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in ("deploy", "uninstall"))
BLOCKS = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
USER = "11111111-1111-4111-8111-111111111111"  # the user of the first app on the page
PAYING = "22222222-2222-4222-8222-222222222222"
LEFT_BEHIND = """
select 'relation', n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('public', 'hangar')
union all select 'function', p.oid::regprocedure::text from pg_proc p
 where p.pronamespace in (select oid from pg_namespace where nspname in ('public', 'hangar'))
union all select 'schema', nspname from pg_namespace where nspname <> 'supabase_migrations'
union all select 'trigger', t.tgname || ' on ' || t.tgrelid::regclass::text from pg_trigger t where not tgisinternal
union all select 'policy', polname || ' on ' || polrelid::regclass::text from pg_policy
union all select 'job', jobname from cron.job
union all select 'secret', name from vault.secrets
order by 1, 2
"""
RECORDED = "select count(*) from supabase_migrations.schema_migrations"


@pytest.fixture
def page(bare_database):
    """A session that has just pushed the schema, what the database held before, and two users, one of whom pays."""
    with psycopg.connect(bare_database, autocommit=True) as session:
        before = session.execute(LEFT_BEHIND).fetchall()
        for user in (USER, PAYING):
            address = f"user-{user[:4]}@example.test"
            session.execute("insert into auth.users (id, email) values (%s, %s)", (user, address))
        session.execute("update public.user_subscriptions set tier = 'pro' where user_id = %s", (PAYING,))
        migrate(bare_database)
        session.execute((ROOT / "supabase" / "seed.sql").read_text().encode())
        as_role(session, "postgres")
        yield session, before


def run(session, block):
    """The rows of each statement of the block that gives any."""
    cursor = session.execute(block.encode())
    found = []
    while True:
        if cursor.description:
            found.append(cursor.fetchall())
        if not cursor.nextset():
            return found


def find_block(words):
    (block,) = (block for block in BLOCKS if words in block)
    return block


@pytest.mark.every_postgres
def test_the_page_from_an_empty_project_to_none_again(page):
    session, before = page
    told = {block: run(session, block) for block in BLOCKS}
    assert len(BLOCKS) >= 10

    [[(first,)]] = told[find_block("default_image")]
    assert first["settings"]["fly_org_slug"] == "acme"
    assert {"fly_org_slug", "default_image", "max_apps", "max_monthly_cost_usd"} <= set(first["changed"])
    [[(_, live)]] = told[find_block("select installation_id")]
    assert live is False
    [jobs] = told[find_block("select jobname")]
    assert [active for *_, active in jobs] == [True, True]
    alerts, answers = told[find_block("net._http_response")]
    assert (alerts, answers) == ([], [])
    _, [(status,)] = told[find_block("fly_set_override")]
    assert status == "provisioning"

    assert session.execute(LEFT_BEHIND).fetchall() == before
    assert session.execute(RECORDED).fetchone() == (0,)


def test_the_granted_user_has_an_app_before_anybody_else_and_all_have_none_after_leaving(page):
    session, _ = page
    leaving = BLOCKS.index(find_block("brake_floor"))
    # More users than host_loss_floor: leaving is a mass loss on purpose.
    more = [f"33333333-3333-4333-8333-{number:012}" for number in range(12)]
    for user in more:
        session.execute("insert into auth.users (id, email) values (%s, %s)", (user, f"user-{user[-2:]}@example.test"))
    session.execute("update public.user_subscriptions set tier = 'pro' where user_id::text = any (%s)", (more,))
    wanted = "select user_id::text, desired_state from public.user_fly_apps order by user_id"
    for block in BLOCKS[: leaving + 1]:
        run(session, block)
        if "fly_set_override" in block:
            assert session.execute(wanted).fetchall() == [(USER, "present")]
        if '"live": true' in block:
            session.execute("select public.fly_sync_entitlements()")
            assert session.execute(wanted).fetchall() == [(user, "present") for user in (USER, PAYING, *more)]
    session.execute("select public.fly_sync_entitlements()")
    assert session.execute(wanted).fetchall() == [(user, "absent") for user in (USER, PAYING, *more)]


def test_the_secrets_the_page_makes_are_of_the_form_the_functions_want():
    echo, static = re.findall(r"^    (.*openssl rand .*?) +#", PAGE, re.MULTILINE)
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command")
    assert webhook_key(shell(echo).stdout.strip())
    assert static_secret.parse(shell(static).stdout.strip())


def shell(command, **more):
    return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True, **more)
