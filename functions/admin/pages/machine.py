"""The logs and the checks of one user's machine, as Fly has them now: read when an operator opens the page, and never stored."""

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar
from uuid import UUID

import flask

from functions.admin.pages.filters import read_filter
from functions.admin.request_context import get_context, show
from functions.admin.views.machine import (
    DEFAULT_LINES,
    LINE_CHOICES,
    ShownCheck,
    ShownLine,
    explain_failure,
    show_check_list,
    show_lines,
)
from shared.domain.errors import HangarError
from shared.domain.models import Json
from shared.fly.app_logs import LogReader
from shared.fly.client import FlyClient
from shared.settings.config import Config

Found = TypeVar("Found")
blueprint = flask.Blueprint("machine", __name__)


@blueprint.get("/users/<uuid:user_id>/machine")
def show_machine(user_id: UUID) -> flask.Response:
    """The newest lines of the app and the output of its checks. Without JavaScript; the page is not refreshed automatically."""
    user = get_context().database.read_user(user_id)
    if user is None:
        return show("unknown_user.html", 404, user_id=user_id)
    found = read_filter({"lines": LINE_CHOICES})
    row = None if found.problems else user["row"]
    logs: _Answer[list[ShownLine]] = _Answer()
    checks: _Answer[list[ShownCheck]] = _Answer()
    if row is not None:
        app, count = row["fly_app_name"], int(found.values.get("lines", DEFAULT_LINES))
        config = get_context().admin.config
        with ThreadPoolExecutor(2) as pool:
            lines = _start(pool, lambda: _read_logs(config, app, count))
            results = _start(pool, lambda: _read_checks(config, row))
            logs = _wait(lines, f"the app {app}")
            checks = _wait(results, f"the machine {row['machine_id']} of the app {app}")
    return show(
        "machine.html",
        400 if found.problems else 200,
        user=user,
        user_id=user_id,
        row=row,
        logs=logs,
        checks=checks,
        values=found.values,
        problems=found.problems,
        choices=[(word, f"{word} lines") for word in LINE_CHOICES],
        default=DEFAULT_LINES,
    )


class _Answer(Generic[Found]):
    """What Fly has answered, or why there is no answer in a sentence."""

    def __init__(self, found: Found | None = None, problem: str = "") -> None:
        self.found, self.problem = found, problem


def _wait(waiting: Future[Found], what: str) -> _Answer[Found]:
    try:
        return _Answer(waiting.result())
    except HangarError as error:
        return _Answer(problem=explain_failure(error, what))


def _start(pool: ThreadPoolExecutor, read: Callable[[], Found]) -> Future[Found]:
    """`read` in another thread, whose log lines carry the id of this request."""
    return pool.submit(contextvars.copy_context().run, read)


def _read_logs(config: Config, app: str, count: int) -> list[ShownLine]:
    with LogReader(config.fly_api_url, config.fly_api_token.get_secret_value()) as reader:
        lines = reader.read(app).lines
    return show_lines(lines[-count:], config.secret_values())


def _read_checks(config: Config, row: Json) -> list[ShownCheck]:
    if not row["machine_id"]:
        return []
    with FlyClient(
        config.fly_api_url,
        config.fly_api_token.get_secret_value(),
        org_slug=config.fly_org_slug,
        hidden=config.secret_values(),
    ) as fly:
        machine = fly.single_attempts().get_machine(row["fly_app_name"], row["machine_id"])
    return show_check_list(machine.list_checks(), config.secret_values())
