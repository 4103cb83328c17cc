"""The content of the local cloud's new database: settings for development, secrets for the nudge, sample users."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from local.dev.child import BACKEND
from local.supabase.auth.users import hash_password

DBNAME = "hangar"
ORG = "hangar-local"
REGION = "sin"


@dataclass(frozen=True)
class Person:
    """A user of the local SaaS."""

    id: str
    email: str


ADMIN = Person("00000000-0000-4000-8000-0000000000ad", "admin@example.test")
FREE_USERS = tuple(Person(f"00000000-0000-4000-8000-00000000000{n}", f"user-{n}@example.test") for n in (1, 2, 3))


def name_image() -> str:
    """The image of the reference backend, pinned by a digest of its source, in the form of a real image reference."""
    return f"hangar.local/backend@sha256:{hashlib.sha256(BACKEND.read_bytes()).hexdigest()}"


def set_up(url: str) -> str:
    """The settings of a local cloud; returns the installation id."""
    with psycopg.connect(url, autocommit=True) as session:
        row = session.execute(
            "update hangar.settings set live = true, removal_hold_s = 2, retry_base_s = 5, retry_cap_s = 30, fly_org_slug = %s,"
            " default_image = %s, default_region = %s returning installation_id::text",
            (ORG, name_image(), REGION),
        ).fetchone()
    if row is None:
        raise RuntimeError("hangar.settings has no row; the migrations should have made it")
    return str(row[0])


def store_secrets(url: str, functions: Mapping[str, str], webhook_secret: str) -> None:
    """Put into Vault what the nudge reads at each call: the functions' URLs and the signing secret."""
    with psycopg.connect(url, autocommit=True) as session:
        for name, value in (
            ("hangar_functions_url", json.dumps(dict(functions))),
            ("hangar_webhook_secret", webhook_secret),
        ):
            session.execute("select vault.create_secret(%s, %s)", (value, name))


def replace_urls(url: str, functions: Mapping[str, str]) -> None:
    """Put the functions' new URLs into Vault, as a deployment does."""
    change = "select vault.update_secret((select id from vault.secrets where name = 'hangar_functions_url'), %s)"
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(change, (json.dumps(dict(functions)),))


def add_people(url: str, admin_password: str) -> None:
    """Add one operator, three users on the free tier, and traders: their own, disabled ones and a built-in one."""
    with psycopg.connect(url) as session:
        for person, password in ((ADMIN, admin_password), *((user, None) for user in FREE_USERS)):
            session.execute(
                "insert into auth.users (id, email, encrypted_password, email_confirmed_at) values (%s, %s, %s, now())",
                (person.id, person.email, hash_password(password) if password else None),
            )
        session.execute("update public.user_profiles set is_admin = true where id = %s", (ADMIN.id,))
        session.execute("insert into hangar.operators (user_id, added_by) values (%s, 'local')", (ADMIN.id,))
        for user in FREE_USERS:
            session.execute(
                "insert into public.traders (user_id, name, enabled, filter) values"
                " (%(user)s, 'breakout', true, '{\"min_volume\": 100000}'), (%(user)s, 'resting', false, '{}')",
                {"user": user.id},
            )
        session.execute("insert into public.traders (name, is_built_in) values ('market pulse', true)")


def shift_clock(url: str, offset_s: float) -> None:
    """Make `hangar.now()` run `offset_s` seconds ahead of the server's clock, for every session from now on."""
    with psycopg.connect(url, autocommit=True) as session:
        # A literal instead of a table keeps the function one expression that the planner can inline.
        session.execute(
            "create or replace function hangar.now() returns timestamptz language sql stable set search_path = ''"
            f" as $$ select pg_catalog.clock_timestamp() + interval '{float(offset_s):.6f} seconds' $$".encode()
        )
