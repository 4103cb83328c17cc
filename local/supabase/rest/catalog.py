"""The schema cache: the tables and functions of the exposed schema, read again on NOTIFY pgrst and on a miss."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from local.supabase.rest.errors import RestError, connection_lost
from local.supabase.rest.pool import Connection, Pool, connect

# Settings of a function that PostgREST applies to the whole transaction (its db-hoisted-tx-settings).
SCHEMA = "public"
"""The schema that a new project exposes."""

HOISTED_SETTINGS = ("statement_timeout", "default_transaction_isolation")
RECONNECT_AFTER_S = 0.5
STOP_WITHIN_S = 0.2


@dataclass(frozen=True)
class Column:
    """`type` is SQL text from the catalog, fully qualified."""

    name: str
    type: str


@dataclass(frozen=True)
class Table:
    """A table, view or foreign table."""

    name: str
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...]


@dataclass(frozen=True)
class Parameter:
    """An input argument; `name` is empty for an unnamed one."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True)
class Function:
    """`returns_rows`: its result has columns (a composite, OUT arguments or a TABLE)."""

    name: str
    parameters: tuple[Parameter, ...]
    returns_set: bool
    returns_rows: bool
    returns_void: bool
    volatile: bool
    variadic: bool
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Catalog:
    """One snapshot of the exposed schema, by name; role settings by role."""

    tables: Mapping[str, Table]
    functions: Mapping[str, tuple[Function, ...]]
    role_settings: Mapping[str, Mapping[str, str]]


def load_catalog(connection: Connection) -> Catalog:
    """Read the catalog in one snapshot, seen with an empty search_path."""
    with connection.transaction():
        connection.execute("set local search_path = ''")
        connection.execute("set local statement_timeout = '30s'")
        tables = _fetch(connection, "tables")
        functions = _fetch(connection, "functions")
        settings = _fetch(connection, "roles")
    by_name: dict[str, tuple[Function, ...]] = {}
    for row in functions:
        by_name[row["name"]] = (*by_name.get(row["name"], ()), _read_function(row))
    roles: dict[str, dict[str, str]] = {}
    for row in settings:
        roles.setdefault(row["role"], {})[row["name"]] = row["value"]
    return Catalog({row["name"]: _read_table(row) for row in tables}, by_name, roles)


def _read_table(row: dict[str, Any]) -> Table:
    columns = {found["name"]: Column(**found) for found in row["columns"]}
    return Table(**{**row, "columns": columns, "primary_key": tuple(row["primary_key"])})


def _read_function(row: dict[str, Any]) -> Function:
    settings = (setting.split("=", 1) for setting in row["settings"])
    hoisted = {name: value for name, value in settings if name in HOISTED_SETTINGS}
    parameters = tuple(Parameter(**found) for found in row["parameters"])
    return Function(**{**row, "parameters": parameters, "settings": hoisted})


@cache
def _read_sql(name: str) -> str:
    return Path(__file__).with_name(f"{name}.sql").read_text()


def _fetch(connection: Connection, name: str) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_read_sql(name)).fetchall()


class SchemaCache:
    """The current catalog. `start()` begins listening for `NOTIFY pgrst`; without it only a miss reloads."""

    def __init__(self, pool: Pool, database_url: str) -> None:
        self._pool = pool
        self._url = database_url
        self._catalog: Catalog | None = None
        self._age = 0  # rises with every forget(), so that a catalog read before it is not stored after it
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True, name="pgrst-listener")

    def current(self) -> Catalog:
        """The catalog as last read, or read now for the first time."""
        catalog = self._catalog
        return self.reload() if catalog is None else catalog

    def reload(self) -> Catalog:
        """Read the catalog now; RestError 503 when the database is out of reach."""
        with self._lock, self._pool.borrow() as connection:
            age = self._age
            try:
                catalog = load_catalog(connection)
            except psycopg.OperationalError as error:
                raise connection_lost(error) from error
            self._catalog = catalog if age == self._age else None
            return catalog

    def forget(self) -> None:
        """Make the next request read the catalog again."""
        self._age += 1
        self._catalog = None

    def start(self) -> None:
        self._listener.start()

    def stop(self) -> None:
        """End the listener. A second call does nothing."""
        self._stopping.set()
        if self._listener.ident is not None:
            self._listener.join(timeout=5)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                with connect(self._url) as connection:
                    connection.execute("listen pgrst")
                    self.forget()  # for notifications sent without a listener
                    self._follow(connection)
            except (RestError, psycopg.Error):
                self._stopping.wait(RECONNECT_AFTER_S)

    def _follow(self, connection: Connection) -> None:
        while not self._stopping.is_set():
            for notice in connection.notifies(timeout=STOP_WITHIN_S):
                if notice.payload in ("", "reload schema", "reload config"):
                    self.forget()
