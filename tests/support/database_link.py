"""The connection from a simulated process to its procedures in Postgres: a runner behind layers."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.types.json import Jsonb
from pydantic_core import from_json, to_json

from shared.adapters.database import explain_refusal
from shared.domain.errors import OutcomeUnknown, TransientError
from tests.support.layers import Call, Layer, compose
from tests.support.sessions import Session

ASK_AGAIN_AFTER_S = 0.3


class DatabaseLink:
    """What the product calls: `rpc(name, args)`. `calls` are the names of the procedures that were called."""

    def __init__(
        self, run: Call, layers: Sequence[Layer], *, calls: list[str] | None = None, session: Session | None = None
    ) -> None:
        self.rpc = compose(layers, run)
        self.calls = [] if calls is None else calls
        self._session = session

    def close(self) -> None:
        """Close the session, if it belongs to this link alone."""
        if self._session is not None:
            self._session.close()


# Runners


def run_in_session(session: Session) -> Call:
    """Run each procedure as a statement of this session."""

    def run(name: str, args: dict[str, Any]) -> Any:
        try:
            return session.execute(f"select public.{name}({format_names(args)})", adapt(args)).fetchone()[0]
        except psycopg.Error as error:
            raise explain_refusal(name, error.sqlstate, str(error)) from error

    return run


class PreparedRunner:
    """Sends the time and the call to libpq as one prepared statement. This takes half the time of psycopg's cursors."""

    def __init__(self, session: Session, prepared: set[bytes]) -> None:
        self._connection, self._clock, self._prepared = session.connection.pgconn, session.clock, prepared

    def __call__(self, name: str, args: dict[str, Any]) -> Any:
        statement = f"{name}({','.join(args)})".encode()
        if statement not in self._prepared:
            names = ", ".join(f"{key} => ${number}" for number, key in enumerate(args, 2))
            query = f"select set_config('hangar.test_now', $1, false), public.{name}({names})"
            self._check(name, self._connection.prepare(statement, query.encode()))
            self._prepared.add(statement)
        values = [str(self._clock()).encode(), *(_encode(value) for value in args.values())]
        result = self._check(name, self._connection.exec_prepared(statement, values))
        value = result.get_value(0, 1)
        return None if value is None else from_json(value)

    def _check(self, name: str, result: Any) -> Any:
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            code = result.error_field(DiagnosticField.SQLSTATE) or b""
            raise explain_refusal(name, code.decode(), result.error_message.decode())
        return result


def format_names(args: dict[str, Any]) -> str:
    """The arguments of a call by name, each with a psycopg placeholder."""
    return ", ".join(f"{key} => %s" for key in args)


def adapt(args: dict[str, Any]) -> list[Any]:
    """The values of these arguments for psycopg."""
    return [Jsonb(value) if isinstance(value, dict | list) else value for value in args.values()]


def _encode(value: Any) -> bytes | None:
    if value is None or isinstance(value, str):
        return None if value is None else value.encode()
    return to_json(value)  # Postgres also reads JSON's true, false and numbers


# Layers


def cross(boundaries: Any, calls: list[str], *, threads: bool) -> Layer:
    """Record the call, with a boundary before and after it. With `threads`, run one call at a time: there is one session."""
    lock = threading.Lock() if threads else contextlib.nullcontext()

    def layer(pass_on: Call, name: str, args: dict[str, Any]) -> Any:
        with lock:
            calls.append(name)
            boundaries.cross(f"before {name}")
            answer = pass_on(name, args)
            boundaries.cross(f"after {name}")
            return answer

    return layer


def ask_again(sleep: Callable[[float], None]) -> Layer:
    """Repeat a call once if its answer was lost, as the product's own client does."""

    def layer(pass_on: Call, name: str, args: dict[str, Any]) -> Any:
        try:
            return pass_on(name, args)
        except OutcomeUnknown:
            sleep(ASK_AGAIN_AFTER_S)
            return pass_on(name, args)

    return layer


def lose_answers(world: Any) -> Layer:
    """Let the share `world.database_fails` of all calls fail: half before any effect, half with the answer lost."""

    def layer(pass_on: Call, name: str, args: dict[str, Any]) -> Any:
        lose = world.random.random() < world.database_fails
        if lose and world.random.random() < 0.5:
            world.turns.pause()
            raise TransientError(f"the database could not run {name} now", code="PGRST000")
        answer = pass_on(name, args)
        if lose:
            raise OutcomeUnknown(f"the database gave no answer to {name}")
        return answer

    return layer
