"""The answers of the functions in the words of the dashboard."""

import httpx
import pytest

from functions.admin.actions.function_client import format_response


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
