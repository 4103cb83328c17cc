"""`hangar user secret`, `hangar user revoke` and `hangar credentials` against a whole local cloud."""

import json
import subprocess
import sys
import time

import pytest

from tests.http.running_operator import DEADLINE_S, open_operator
from tests.http.test_ops_releases import fleet_of
from tests.http.test_ops_user_pins import drain

CANARY = "canary-6f1d-value-of-a-secret"


@pytest.fixture
def operator(cloud, tmp_path):
    with open_operator(cloud, tmp_path) as operator:
        yield fleet_of(operator, 2)


def set_secret(operator, *arguments, value=CANARY, exits=0):
    """Run the command as a process of its own, with the value on standard input."""
    command = [sys.executable, "-c", "from ops.cli import main; main()", "user", "secret", *arguments]
    done = subprocess.run(
        command,
        cwd=operator.folder,
        env={**operator.env, "FLY_API_URL": operator.fly_url, "FLY_API_TOKEN": operator.fly_token},
        input=value,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S * 2,
        check=False,
    )
    assert done.returncode == exits, (done.stdout, done.stderr)
    return done.stdout, done.stderr


@pytest.mark.slow
def test_a_secret_reaches_fly_and_no_output_row_or_event(operator):
    user, _ = operator.users
    email, shown = operator.email(user), []
    shown += set_secret(operator, email, "set", "API_KEY", "--reason", "their account")
    assert "API_KEY is set at Fly (digest " in shown[0]
    assert "its machine restarts" in shown[0]
    drain(operator)
    [secret] = operator.json("user", "secret", email, "list")["secrets"]
    assert (secret["name"], secret["state"], secret["reason"]) == ("API_KEY", "deployed", "their account")
    for command in (
        ("user", "secret", email, "list"),
        ("user", "show", email),
        ("explain", email),
        ("status", email),
        ("status", email, "--json"),
        ("events", "--user", email, "--json"),
        ("credentials",),
    ):
        shown += operator.hangar(*command)
    assert "API_KEY (deployed)" in operator.hangar("explain", email)[0]
    assert CANARY not in "".join(shown)
    for table in ("hangar.user_secrets", "public.user_fly_app_events"):
        assert CANARY not in "".join(text for (text,) in operator.sql(f"select to_jsonb(t)::text from {table} t"))
    assert "is removed at Fly" in set_secret(operator, email, "remove", "API_KEY", value="")[0]
    drain(operator)
    assert operator.json("user", "secret", email, "list") == {"secrets": []}


@pytest.mark.slow
def test_what_cannot_be_a_secret_is_refused_before_anything_is_sent(operator):
    user = str(operator.users[0])
    for arguments, value, reason in (
        ((user, "set", "SUPABASE_USER_TOKEN"), CANARY, "use another name"),
        ((user, "set", "A B"), CANARY, "letters, digits and _"),
        ((user, "set", "EMPTY"), "\n", "no value for EMPTY"),
        ((user, "set", "LONG"), CANARY * 2000, "at most"),
        ((user, "set"), CANARY, "needs the name"),
        ((user, "remove", "NOT_SET"), "", "the user has no secret NOT_SET"),
    ):
        out, err = set_secret(operator, *arguments, value=value, exits=2)
        assert reason in err
        assert CANARY not in out + err
    assert operator.json("user", "secret", user, "list") == {"secrets": []}


def test_a_revoked_user_gets_a_new_token_and_every_view_says_so(operator):
    user, other = operator.users
    email = operator.email(user)
    issued = "select token_issued_at from public.user_fly_apps where user_id = %s"
    before = operator.sql(issued, user), operator.sql(issued, other)
    time.sleep(1.1)
    out, _ = operator.hangar("user", "revoke", email, "--reason", "in a log")
    assert "are refused" in out
    assert "a new token with the next drain" in out
    drain(operator)
    assert operator.sql(issued, user) > before[0]
    assert operator.sql(issued, other) == before[1]
    for command in ("explain", "status"):
        assert "revoked if issued up to" in " ".join(operator.hangar(command, email)[0].replace("│", " ").split())


def test_credentials_shows_the_fleet_and_renew_makes_every_token_due(operator):
    found = operator.json("credentials")
    assert (found["apps"], found["due"], found["lapsing"]) == (2, 0, 0)
    assert "no token is due" in operator.hangar("credentials")[0]
    time.sleep(1.1)
    renewed = json.loads(operator.hangar("credentials", "renew", "--reason", "new key", "--json")[0])
    assert renewed["older_than_renew_from"] == 2
    operator.sql("update hangar.settings set renew_tokens_from = null")
