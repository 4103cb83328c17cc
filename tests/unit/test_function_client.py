"""The answers of the functions in the words of the dashboard."""

import socket
from threading import Thread
from types import SimpleNamespace

import httpx
import pytest

from functions.admin.actions.function_client import CHECK, RECORDED, RESTART, SWEEP, call_function, format_response


@pytest.mark.parametrize(
    ("status", "body", "tone", "words"),
    [
        (200, {"detail": "the app is active"}, "good", "The app is active."),
        (202, {"detail": "waiting", "code": "waiting"}, "busy", "Accepted, not finished yet: waiting."),
        (202, {"detail": "any sentence", "code": "leased"}, "busy", "In progress: a worker is already working on"),
        (409, {"detail": "Still entitled", "code": "still_entitled"}, "bad", "Still entitled."),
        (503, {"detail": "Fly does not answer"}, "busy", "Fly does not answer. Nothing is lost"),
        (503, {"code": "not_restarted", "detail": "The machine was not restarted"}, "bad", "was not restarted."),
        (401, {}, "bad", "did not accept your sign-in"),
        (500, {}, "bad", "answered 500"),
    ],
)
def test_every_answer_of_a_function_has_its_words(status, body, tone, words):
    """Status and code decide, never the sentence."""
    outcome = format_response("provision", httpx.Response(status, json=body))
    assert outcome.tone == tone
    assert words in outcome.text


def test_an_answer_that_already_promises_another_try_gets_no_second_promise():
    body = {"code": "out_of_reach", "detail": "Fly does not answer. Hangar tries again"}
    assert format_response("provision", httpx.Response(503, json=body)).text == f"{body['detail']}."


REPEAT = "Hangar does not repeat a restart, so request it again."


def call(url, unanswered):
    admin = SimpleNamespace(config=SimpleNamespace(function_urls={"health": url} if url else {}))
    context = SimpleNamespace(admin=admin, operator=SimpleNamespace(access_token="t"))
    return call_function(context, "health", {}, unanswered)


@pytest.fixture
def port():
    """A port of our own at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize("is_set", [True, False])
@pytest.mark.parametrize(
    ("unanswered", "words"),
    [
        (RECORDED, "The request is recorded, and the next drain carries it out."),
        (CHECK, "The next sweep checks the app."),
        (RESTART, f"The machine was not restarted. {REPEAT}"),
        (SWEEP, "No sweep was started. The scheduler starts one every 5 minutes."),
    ],
)
def test_only_what_was_recorded_is_promised_while_a_function_cannot_be_called(port, unanswered, words, is_set):
    """Restart, check and sweep leave nothing in the database that a drain could carry out."""
    outcome = call(f"http://127.0.0.1:{port}" if is_set else None, unanswered)
    assert outcome.text.endswith(f". {words}" if not is_set else f"(ConnectError). {words}")
    assert outcome.tone == ("busy" if unanswered is RECORDED and not is_set else "bad")


def test_a_restart_whose_answer_is_lost_is_neither_claimed_nor_denied():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            connection, _ = server.accept()
            connection.recv(65536)
            connection.close()

        thread = Thread(target=hang_up)
        thread.start()
        outcome = call(f"http://127.0.0.1:{server.getsockname()[1]}", RESTART)
        thread.join()
    assert "did not answer" in outcome.text
    assert "Whether the machine was restarted is not known" in outcome.text
    assert "recorded" not in outcome.text


def test_nothing_promises_that_a_restart_is_tried_again():
    outcome = format_response("health", httpx.Response(503, json={"detail": "The database does not answer"}), RESTART)
    assert "again automatically" not in outcome.text
    assert outcome.tone == "bad"
