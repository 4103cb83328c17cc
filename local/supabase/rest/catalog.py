"""The schema cache: the tables and functions of the exposed schema, read again on NOTIFY pgrst and on a miss."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from local.supabase.rest.errors import RestError, connection_lost
from local.supabase.rest.pool import Connection, Pool, connect

SCHEMA = "public"
"""The schema that a new project exposes."""

RECONNECT_AFTER_S = 0.5
STOP_WITHIN_S = 0.2


@dataclass(frozen=True)
class Table:
    """A table, view or foreign table. `columns` have their types as SQL text from the catalog, fully qualified."""

    name: str
    columns: Mapping[str, str]
    primary_key: Sequence[str]


@dataclass(frozen=True)
class Parameter:
    """An input argument; `name` is empty for an unnamed one."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True)
class Function:
    """`returns_rows`: its result has columns or several rows.

    `hoists`: it has a setting that PostgREST applies to the whole transaction (its db-hoisted-tx-settings).
    """

    name: str
    parameters: tuple[Parameter, ...]
    returns_rows: bool
    returns_void: bool
    volatile: bool
    variadic: bool
    hoists: bool


@dataclass(frozen=True)
class Catalog:
    """One snapshot of the exposed schema, by name."""

    tables: Mapping[str, Table]
    functions: Mapping[str, tuple[Function, ...]]


def load_catalog(connection: Connection) -> Catalog:
    """Read the catalog in one snapshot, seen with an empty search_path."""
    with connection.transaction():
        connection.execute("set local search_path = ''")
        connection.execute("set local statement_timeout = '30s'")
        tables = _fetch(connection, "tables")
        functions = _fetch(connection, "functions")
    by_name: dict[str, tuple[Function, ...]] = {}
    for row in functions:
        parameters = tuple(Parameter(**found) for found in row["parameters"])
        by_name[row["name"]] = (*by_name.get(row["name"], ()), Function(**{**row, "parameters": parameters}))
    return Catalog({row["name"]: Table(**row) for row in tables}, by_name)


def _fetch(connection: Connection, name: str) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(Path(__file__).with_name(f"{name}.sql").read_bytes()).fetchall()


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
