"""Watching a release through a short outage of the database, on a terminal and into a pipe."""

import io

import httpx
import pytest
from rich.console import Console

from ops import release_watch
from shared.domain.errors import OutcomeUnknown, TransientError
from tests.unit.test_release_text import make_release, make_target


class Installation:
    """Answers with one state after another; an exception is raised. E-mails cannot be read."""

    def __init__(self, *answers):
        self.answers, self.database = list(answers), self

    def read_release(self, release_id):
        assert release_id == 3
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read_emails(self, users):
        raise httpx.ConnectError(f"no answer about {list(users)}")


@pytest.fixture
def waits(monkeypatch):
    waits = []
    monkeypatch.setattr(release_watch.time, "sleep", waits.append)
    return waits


MOVING = make_release(targets=[make_target("app-1", "applying")])
DONE = make_release("completed", targets=[make_target("app-1", "done")])


def test_a_watch_survives_a_short_outage_and_says_so_once(waits, capsys):
    answers = (MOVING, TransientError("cannot be reached"), OutcomeUnknown("no response"), DONE)
    assert release_watch.watch_release(Installation(*answers), MOVING, quiet=False) == DONE
    out, err = capsys.readouterr()
    assert out.splitlines() == ["Release 3: rolling, canary; 0 of 41 apps done"]
    assert len(err.splitlines()) == 1
    assert "cannot be reached; asking again" in err
    assert len(waits) == 4


def test_a_watch_ends_when_nobody_answers_for_a_minute(waits):
    errors = [TransientError("cannot be reached") for _ in range(40)]
    with pytest.raises(TransientError):
        release_watch.watch_release(Installation(*errors), MOVING, quiet=True)
    assert 60 <= sum(waits) <= 70


def test_on_a_terminal_the_whole_picture_is_refreshed(waits, monkeypatch):
    """Users are named by their ids while their e-mails cannot be read."""
    shown = Console(force_terminal=True, width=160, record=True, file=io.StringIO())
    monkeypatch.setattr(release_watch, "make_console", lambda **_: shown)
    assert release_watch.watch_release(Installation(MOVING, DONE), MOVING, quiet=False) == DONE
    text = shown.file.getvalue()
    assert "app-1" in text
    assert "Next: " in text
    assert len(waits) == 2
