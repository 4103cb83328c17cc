"""What answers at SUPABASE_URL is no project with Hangar, or the key is wrong: commands say so, and doctor is never well."""

import json

import pytest

from local.http_server import Response, Server
from tests.http.running_operator import open_operator

ANSWERS = {
    "a web page": (Response(200, b"<html>sign in</html>"), "SUPABASE_URL"),
    "a missing page": (Response(404, b"<html>no such page</html>"), "SUPABASE_URL"),
    "another address": (Response(302, b""), "SUPABASE_URL"),
    "null": (Response(200, b"null"), "SUPABASE_URL"),
    "a list": (Response(200, b"[]"), "SUPABASE_URL"),
    "another API": (Response(200, b'{"status": "ok"}'), "SUPABASE_URL"),
    "a paused project": (Response(540, b'{"message": "Project paused"}'), "Resume the project"),
    "a plan that is used up": (Response(402, b"egress quota exceeded"), "dashboard"),
}


READING = (("events",), ("app", "some-app"), ("export", "events"))  # an empty list is an answer to them
COMMANDS = (*READING, ("status",), ("apps",), ("pause", "--reason", "x"), ("brake",))


@pytest.fixture
def operator(cloud, tmp_path):
    with open_operator(cloud, tmp_path) as operator:
        yield operator


@pytest.fixture(params=list(ANSWERS))
def other(request):
    answer, says = ANSWERS[request.param]
    with Server(lambda _: answer) as server:
        yield server.url, says


def test_doctor_names_the_address_and_is_not_well(operator, other):
    """Whatever answers with 200 was taken for a database that could not be checked, and the exit code was 0."""
    url, says = other
    code, out, err = operator.run_here(["doctor", "--json"], {"SUPABASE_URL": url})
    assert (code, err) == (1, "")
    [check] = [check for check in json.loads(out)["checks"] if check["name"] == "database"]
    assert check["state"] == "wrong"
    assert says in check["found"] + check["remedy"]
    assert "report" not in check["found"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_says_in_one_line_that_the_address_is_wrong(request, operator, other, words):
    """No traceback, and nobody is asked to report a mistake of their own."""
    url, says = other
    if (request.node.callspec.params["other"], words) in {
        ("another API", ("brake",)),
        *(("a list", each) for each in READING),
    }:
        pytest.skip("this answer has the form of a right one")
    code, out, err = operator.run_here(list(words), {"SUPABASE_URL": url})
    assert code in (1, 2)
    assert says in err, (out, err)
    assert len(err.strip().splitlines()) == 1
    assert "report" not in err


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_wrong_key_is_no_passing_trouble(operator, words):
    """401 is an HTTP status. It was read as a class of SQLSTATE that passes, and the operator was told to try again."""
    code, _, err = operator.run_here(list(words), {"SUPABASE_SECRET_KEY": "sb_secret_0000000000000000000000"})
    assert code == 2
    assert "SUPABASE_SECRET_KEY" in err
    assert "try again" not in err
