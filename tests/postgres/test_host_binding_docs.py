"""docs/host-binding.md: its SQL runs as it is written, and its tables say what the database says."""

import re
import uuid
from pathlib import Path

import pytest

from tests.postgres.ready_bindings import BINDINGS, open_host

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "host-binding.md").read_text()
BLOCKS = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
USER = uuid.UUID("11111111-1111-4111-8111-111111111111")
# The hosts of the page, each with a subscription of USER.
HOSTS = f"""
create table public.plans_of_members (member_id uuid, plan text, status text, paid_until timestamptz);
insert into public.plans_of_members values ('{USER}', 'pro', 'active', null);
create table public.memberships (member_id uuid, plan text, valid_until date);
insert into public.memberships values ('{USER}', 'pro', null);
create table public.accounts (owner_id uuid, plan text, billing_status text);
insert into public.accounts values ('{USER}', 'pro', 'active');
create table public.billing_accounts (user_id uuid, data jsonb);
insert into public.billing_accounts values ('{USER}', '{{"subscription": {{"plan": "pro", "status": "active"}}}}');
create table public."User" (id text primary key, email text);
insert into public."User" values ('{USER}', 'ada@example.test');
create table public."Subscription" ("userId" text, "planId" text, status text, "currentPeriodEnd" timestamp(3));
insert into public."Subscription" values ('{USER}', 'pro', 'active', null);
create table public.teams (id int, plan text, state text, paid_until timestamptz);
insert into public.teams values (1, 'pro', 'active', null);
create table public.seats (user_id uuid, team_id int);
insert into public.seats values ('{USER}', 1);
"""


@pytest.fixture
def host(postgres, connect):
    with open_host(postgres, connect) as host:
        host.sql("insert into auth.users (id, email) values (%s, 'ada@example.test')", USER)
        host.owner.execute(HOSTS.encode())
        yield host


def test_every_block_runs_in_the_order_of_the_page(host):
    """After each binding of the page its user is entitled, by the row of that table."""
    bound = []
    for block in BLOCKS:
        host.owner.execute(block.encode())
        if "bind_" in block:
            bound.append(host.one("select source from hangar.binding"))
            assert host.why(USER) == "active", block
            assert host.email(USER) == "ada@example.test"
    assert bound == [
        "public.plans_of_members",
        "public.memberships",
        "public.accounts",
        "public.billing_accounts",
        'public."Subscription"',
        "private.paid_seats(uuid[])",
    ]
    assert host.why(USER) == "not_bound"


def table_rows(heading):
    """The rows of the Markdown table whose first line contains this text, cells without backticks."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("|"))
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[:end]]
    return cells[0], cells[2:]


def test_the_tables_of_status_words_are_the_presets(host):
    shown = set()
    for heading in ("| status | `default` |", "| status | `revenuecat` |"):
        head, rows = table_rows(heading)
        shown |= {
            (preset, row[0], rule) for row in rows for preset, rule in zip(head[1:], row[1:], strict=True) if rule
        }
    made = set()
    for preset in ("default", "stripe", "paddle", "lemon_squeezy", "revenuecat"):
        host.owner.execute("select hangar.use_status_rules(%s)", (preset,))
        made |= {
            (preset, row["status"], row["rule"]) for row in host.sql("select status, rule from hangar.status_rules")
        }
    assert shown == made


def test_every_ready_file_is_in_the_table_of_its_folder():
    listed = set(re.findall(r"`([a-z_]+\.sql)`", (BINDINGS / "README.md").read_text()))
    assert listed == {path.name for path in BINDINGS.glob("*.sql")}
