"""The database of the installation, as a deployment reads and changes it: settings over REST, Vault and schedule by SQL."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ops.deploy.common import JOBS, InstallationState
from ops.deploy.settings import SettingsError
from ops.deploy.steps import AddPlans, SetSettings, WriteVault
from shared.domain.errors import Conflict, HangarError

if TYPE_CHECKING:
    import psycopg

    from ops.client import Installation

DATABASE_URL = "SUPABASE_DB_URL"
_NAMES = ("hangar_functions_url", "hangar_webhook_secret")


class DatabaseStepError(Exception):
    """The database could not be read or changed. The message has no password."""


def read_installation(
    installation: "Installation", database_url: str | None, on_file: Mapping[str, str]
) -> InstallationState:
    """What the database holds now.

    Raises DatabaseStepError, and SettingsError if the two addresses lead to different databases.
    """
    try:
        settings = installation.database.read_overview().settings
        plans = frozenset(plan["tier"] for plan in installation.read_rows("fly_plans", limit=1000))
    except HangarError as error:
        raise DatabaseStepError(
            f"no Hangar installation answers at {installation.target.supabase_url}: {error}. "
            "If the schema is missing, run `hangar install` first"
        ) from error
    if database_url is None:
        return InstallationState(settings, None, None, *read_known(on_file), plans)
    with open_database(database_url) as session:
        _check_same(session, settings["installation_id"], installation.target.supabase_url)
        vault = session.execute(
            "select name, decrypted_secret from vault.decrypted_secrets where name = any (%s)", (list(_NAMES),)
        ).fetchall()
        jobs = _read_jobs(session)
    return InstallationState(settings, dict(vault), jobs, *read_known(on_file), plans)


def _check_same(session: "psycopg.Connection", installation_id: str, supabase_url: str) -> None:
    """Vault and schedule are written over SUPABASE_DB_URL, everything else over SUPABASE_URL: it must be one database."""
    found = None
    if session.execute("select to_regclass('hangar.settings')").fetchone() != (None,):
        row = session.execute("select installation_id::text from hangar.settings").fetchone()
        found = row[0] if row else None
    if found == installation_id:
        return
    other = f"the installation {found}" if found else "no installation of Hangar"
    raise SettingsError(
        f"{DATABASE_URL} and SUPABASE_URL lead to different databases: {session.info.dbname} on {session.info.host} has {other}, "
        f"and {supabase_url} has {installation_id}. Correct the one that is wrong. Nothing was changed"
    )


def read_known(on_file: Mapping[str, str]) -> tuple[str | None, str | None]:
    """What `.env.hangar` knows of the last deployment: the addresses of the functions, and the installation."""
    return on_file.get("HANGAR_FUNCTIONS_URL"), on_file.get("HANGAR_INSTALLATION_ID", "").strip().lower() or None


def _read_jobs(session: "psycopg.Connection") -> frozenset[str]:
    if session.execute("select to_regclass('cron.job')").fetchone() == (None,):
        return frozenset()
    found = session.execute(
        "select jobname from cron.job where active and jobname = any (%s)", (list(JOBS),)
    ).fetchall()
    return frozenset(name for (name,) in found)


@contextmanager
def open_database(url: str) -> Iterator["psycopg.Connection"]:
    """A session of the URL's role. Raises DatabaseStepError, which never quotes the URL."""
    import psycopg  # noqa: PLC0415  only installing and deploying need it

    from ops.install.connection import connect  # noqa: PLC0415  it imports psycopg
    from ops.install.database_url import parse_database_url  # noqa: PLC0415  it imports psycopg
    from ops.install.errors import InstallError  # noqa: PLC0415  it belongs to the two above

    try:
        known = parse_database_url(url, DATABASE_URL)
        connection = connect(known, application_name="hangar deploy")
    except InstallError as error:
        raise DatabaseStepError(str(error)) from None
    with connection:
        try:
            yield connection
        except psycopg.Error as error:
            reason = known.hide_password(error.diag.message_primary or type(error).__name__)
            raise DatabaseStepError(f"{known.label} refused a statement: {reason}") from None


def write_vault(database_url: str, action: WriteVault) -> None:
    """Create or replace each secret, all of them or none. Raises DatabaseStepError."""
    with open_database(database_url) as session, session.transaction():
        for name, value in action.values.items():
            row = session.execute("select id from vault.secrets where name = %s", (name,)).fetchone()
            if row is None:
                session.execute("select vault.create_secret(%s, %s)", (value, name))
            else:
                session.execute("select vault.update_secret(%s, %s)", (row[0], value))


def write_schedule(database_url: str) -> None:
    """Create both jobs; a job of the same name is replaced. Raises DatabaseStepError."""
    with open_database(database_url) as session:
        if session.execute("select to_regprocedure('cron.schedule(text,text,text)')").fetchone() == (None,):
            session.execute("create extension if not exists pg_cron with schema pg_catalog")
        session.execute(
            "select cron.schedule('check-fly-apps-health', '*/5 * * * *', 'select hangar.call_health(false)')"
        )
        session.execute("select cron.schedule('hangar-drain', '* * * * *', 'select hangar.call_health(true)')")
        if _read_jobs(session) < JOBS:
            raise DatabaseStepError(
                "the jobs exist but are switched off: run cron.alter_job(jobid, active := true) for both"
            )


def write_settings(
    installation: "Installation", action: SetSettings, get_actor: Callable[[], str]
) -> Mapping[str, Any]:
    """Change the settings, unless somebody has changed one meanwhile. Raises HangarError."""
    change = installation.database.set_settings(
        dict(action.values), actor=get_actor(), reason="hangar deploy", expected=dict(action.seen)
    )
    return change.settings


def add_plans(installation: "Installation", action: AddPlans, get_actor: Callable[[], str]) -> None:
    """Add each plan, unless somebody has added it meanwhile. Raises HangarError."""
    for tier, values in action.values.items():
        with suppress(Conflict):
            installation.database.set_plan(tier, dict(values), actor=get_actor(), reason="hangar deploy", create=True)
