"""Follows a release until nothing moves any more."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from rich.console import Group
from rich.live import Live

from ops.cli_support import echo, make_console
from ops.client import Installation
from ops.release_tables import SHOWN_TARGETS, format_headline, is_at_rest, list_behind, render_release
from shared.domain.errors import TransientError

_WATCH_EVERY_S = 2.0
_WATCH_FAILURES = 30  # a minute without an answer


def read_behind_emails(installation: Installation, found: Mapping[str, Any]) -> dict[str, str]:
    """The e-mail addresses of the users whom the table "Behind" shows. Ids take their place while nobody answers."""
    try:
        return installation.read_emails(each["user_id"] for each in list_behind(found)[:SHOWN_TARGETS])
    except (httpx.HTTPError, TransientError):
        return {}


def watch_release(installation: Installation, found: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Follow a release until it is at rest: a live picture on a terminal, elsewhere a line for each change."""
    console, shown = make_console(to_stderr=quiet), ""
    is_live = console.is_terminal and not quiet
    with Live(console=console, transient=True, auto_refresh=False) if is_live else _no_picture() as picture:
        while not is_at_rest(found):
            if picture is not None:
                parts = render_release(found, read_behind_emails(installation, found))
                picture.update(Group(*parts), refresh=True)
            elif (line := format_headline(found)) != shown and not quiet:
                shown = line
                console.print(line)
            time.sleep(_WATCH_EVERY_S)
            found = _read_patiently(installation, int(found["id"]))
    return found


@contextmanager
def _no_picture() -> Iterator[None]:
    yield


def _read_patiently(installation: Installation, release_id: int) -> dict[str, Any]:
    """The release, also when the database does not answer for a while: a watch must survive a short outage."""
    for attempt in range(_WATCH_FAILURES):
        try:
            return installation.database.read_release(release_id)
        except TransientError as error:
            if attempt == 0:
                echo(f"hangar: {error}; asking again. The release does not depend on this command", err=True)
            time.sleep(_WATCH_EVERY_S)
    return installation.database.read_release(release_id)
