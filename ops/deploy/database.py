"""The database of the installation, as a deployment reads and changes it: settings over REST, Vault and schedule by SQL."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ops.deploy.common import JOBS, InstallationState
from ops.deploy.steps import SetSettings, WriteVault
from shared.domain.errors import HangarError

if TYPE_CHECKING:
    import psycopg

    from ops.client import Installation

_CONNECT_TIMEOUT_S = 10
_NAMES = ("hangar_functions_url", "hangar_webhook_secret")


class DatabaseStepError(Exception):
    """The database could not be read or changed. The message has no password."""


def read_installation(
    installation: "Installation", database_url: str | None, functions_url_on_file: str | None
) -> InstallationState:
    """What the database holds now. Raises DatabaseStepError."""
    try:
        settings = installation.database.read_overview().settings
    except HangarError as error:
        raise DatabaseStepError(
            f"no Hangar installation answers at {installation.target.supabase_url}: {error}. "
            "If the schema is missing, run `hangar install` first"
        ) from error
    if database_url is None:
        return InstallationState(settings, None, None, functions_url_on_file)
    with open_database(database_url) as session:
        vault = session.execute(
            "select name, decrypted_secret from vault.decrypted_secrets where name = any (%s)", (list(_NAMES),)
        ).fetchall()
        jobs = _read_jobs(session)
    return InstallationState(settings, dict(vault), jobs, functions_url_on_file)


def _read_jobs(session: "psycopg.Connection") -> frozenset[str]:
    if session.execute("select to_regclass('cron.job')").fetchone() == (None,):
        return frozenset()
    found = session.execute(
        "select jobname from cron.job where active and jobname = any (%s)", (list(JOBS),)
    ).fetchall()
    return frozenset(name for (name,) in found)


@contextmanager
def open_database(url: str) -> Iterator["psycopg.Connection"]:
    """A session of the database's owner. Raises DatabaseStepError, which never quotes the URL."""
    import psycopg  # noqa: PLC0415  only installing and deploying need it

    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S) as session:
            yield session
    except psycopg.ProgrammingError as error:
        detail = error.diag.message_primary
        if detail is None:  # libpq quotes the part of the URL that it does not understand
            raise DatabaseStepError(
                "SUPABASE_DB_URL is no Postgres URL: expected postgresql://ROLE:PASSWORD@HOST/DB"
            ) from None
        raise DatabaseStepError(f"the database refused: {detail}") from None
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise DatabaseStepError(
            f"no connection to the database of SUPABASE_DB_URL: {_hide_password(reason, url)}"
        ) from None
    except psycopg.Error as error:
        raise DatabaseStepError(f"the database refused: {error.diag.message_primary or type(error).__name__}") from None


def _hide_password(text: str, url: str) -> str:
    password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    return text.replace(password, "…") if password else text


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
