"""A new signing key, as docs/credentials.md says it: real functions, machines that are processes, and Supabase's gateway.

Two users' programs read and write through row-level security with the token that Hangar gave them, so whether a key is
accepted shows in what they can do.
"""

import json
import re
import shlex
import time
from pathlib import Path

import jwt
import pytest

from local.dev.cloud import LocalCloud
from local.dev.database import FREE_USERS
from local.supabase.keys import Keys
from ops.setup.secrets import make_signing_key
from tests.http.running_operator import DEADLINE_S, Operator
from tests.support.loopback import LOOPBACK

PAGE = (Path(__file__).parents[2] / "docs" / "credentials.md").read_text()
_, _, STEPS = PAGE.partition("\n## A new signing key\n")
# The command of step 4, as the page has it.
[RENEW] = [shlex.split(found)[1:] for found in re.findall(r"`(hangar credentials renew [^`]*)`", STEPS)]
USERS = [person.id for person in FREE_USERS[:2]]


class Installation:
    """A cloud whose functions sign with an imported key, as a hosted installation does, and its operator."""

    def __init__(self, cloud, folder):
        self.cloud, self.operator = cloud, Operator(cloud, folder)
        self.keys_file = cloud.folder / "keys.json"
        self.keys = Keys.load(self.keys_file)
        known = cloud.addresses
        self.operator.env |= {
            "SUPABASE_PUBLISHABLE_KEY": known["publishable_key"],
            "FLY_API_URL": known["fly_api_url"],
            "FLY_API_TOKEN": known["fly_api_token"],
            "FLY_ORG_SLUG": known["fly_org"],
        }

    def change_keys(self):
        """What the operator did in the dashboard takes effect: wait until the project publishes it."""
        self.keys.save(self.keys_file)
        wanted = {key["kid"] for key in self.keys.jwks()["keys"]}
        url = f"{self.cloud.addresses['supabase_url']}/auth/v1/.well-known/jwks.json"
        wait_until(lambda: {key["kid"] for key in LOOPBACK.get(url).json()["keys"]} == wanted, "the new keys")

    def deploy(self, jwk):
        """`hangar deploy` with this key in `.env.hangar`. The shell of the operator has the same file."""
        self.cloud.deploy_functions({"HANGAR_USER_TOKEN_KEY": jwk})
        self.operator.env["HANGAR_USER_TOKEN_KEY"] = jwk
        urls = {name: url for name, url in self.cloud.addresses["functions"].items() if url}
        self.operator.env["HANGAR_FUNCTIONS_URL"] = json.dumps(urls)

    def ask_fly(self, path):
        headers = {"Authorization": f"Bearer {self.operator.fly_token}"}
        return LOOPBACK.get(f"{self.operator.fly_url}/v1/apps/{path}", headers=headers).json()

    def tokens(self):
        """The token that Fly holds for each user's machine."""
        apps = self.operator.sql(
            "select user_id::text, fly_app_name from public.user_fly_apps where deleted_at is null"
        )
        return {
            user: secret["value"]
            for user, app in apps
            for secret in self.ask_fly(f"{app}/secrets?show_secrets=true")["secrets"]
            if secret["name"] == "SUPABASE_USER_TOKEN"
        }

    def read(self, token):
        """The users whose traders this token reads, or the status of the refusal."""
        headers = {"apikey": self.keys.publishable_key, "Authorization": f"Bearer {token}"}
        url = f"{self.cloud.addresses['supabase_url']}/rest/v1/traders?select=user_id&user_id=not.is.null"
        answer = LOOPBACK.get(url, headers=headers)
        return {row["user_id"] for row in answer.json()} if answer.is_success else answer.status_code

    def write(self, token, user, app):
        """The status of the answer to a signal for this user."""
        headers = {"apikey": self.keys.publishable_key, "Authorization": f"Bearer {token}", "Prefer": "return=minimal"}
        [(trader,)] = self.operator.sql("select min(id::text) from public.traders where user_id = %s and enabled", user)
        url = f"{self.cloud.addresses['supabase_url']}/rest/v1/signals"
        signal = {"trader_id": trader, "user_id": user, "fly_app_id": app, "payload": {}}
        return LOOPBACK.post(url, headers=headers, json=signal).status_code

    def machines(self):
        return {name: self.ask_fly(f"{name}/machines") for name in self.operator.apps_on_fly()}

    def are_ready(self):
        """Whether every user's program says so, which it does only while it reads and writes."""
        checks = [machine["checks"] for machines in self.machines().values() for machine in machines]
        return len(checks) == len(USERS) and all(
            each and {check["status"] for check in each} == {"passing"} for each in checks
        )

    def instances(self):
        """Each user's machine and its version: a restart or an update makes another one."""
        return {
            app: [(machine["id"], machine["instance_id"], machine["events"][0]) for machine in machines]
            for app, machines in self.machines().items()
        }

    def sweep(self):
        self.operator.hangar("sweep")

    def pass_an_hour(self):
        """As far as the trickle can tell."""
        self.operator.sql(
            "update public.user_fly_apps set token_renewal_at = token_renewal_at - interval '61 minutes' where deleted_at is null"
        )

    def are_healthy(self):
        self.sweep()
        query = "select distinct health_status from public.user_fly_apps where deleted_at is null"
        return self.operator.sql(query) == [("healthy",)]

    def doctor(self):
        code, out, _ = self.operator.run_here(["doctor", "--json"])
        return code, {check["name"]: check for check in json.loads(out)["checks"]}["signing_key"]

    def alert(self):
        found = self.operator.sql(
            "select message from hangar.alerts where kind = 'signing_key' and resolved_at is null"
        )
        return found[0][0] if found else None


def kid_of(token_or_jwk):
    if token_or_jwk.startswith("{"):
        return json.loads(token_or_jwk)["kid"]
    return jwt.get_unverified_header(token_or_jwk)["kid"]


def wait_until(holds, what):
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.2)


@pytest.fixture
def old():
    return make_signing_key()


@pytest.fixture
def installation(old, tmp_path):
    """Two users with running apps, whose tokens are signed with the standby key `old`."""
    with LocalCloud(tmp_path / "cloud", processes=2) as cloud:
        cloud.pg_cron.stop()
        found = Installation(cloud, tmp_path)
        with found.operator.database:
            found.keys.import_standby(old)
            found.change_keys()
            found.deploy(old)
            found.operator.sql("update public.user_subscriptions set tier = 'pro' where user_id::text = any(%s)", USERS)
            found.sweep()
            wait_until(found.are_ready, "both programs work")
            found.sweep()
            yield found


@pytest.mark.proof
@pytest.mark.slow
def test_two_keys_in_overlap_as_the_page_says(installation, old):
    operator, new = installation.operator, make_signing_key()
    before, running = installation.tokens(), installation.instances()
    assert {kid_of(token) for token in before.values()} == {kid_of(old)}

    # Steps 1 and 2: the project accepts the new key beside the old one.
    installation.keys.retire(kid_of(old))
    installation.keys.import_standby(new)
    installation.change_keys()
    assert installation.doctor()[1]["state"] == "ok"
    # Step 3: Hangar signs with the new one.
    installation.deploy(new)
    assert "functions sign with the key" in installation.doctor()[1]["found"]  # until a sweep has run in them
    installation.sweep()
    assert installation.doctor() == (0, installation.doctor()[1])
    assert installation.doctor()[1]["state"] == "ok"
    assert installation.tokens() == before
    # Step 4: the trickle, one app an hour.
    operator.hangar(*RENEW)
    assert operator.json("credentials")["older_than_renew_from"] == len(USERS)
    installation.sweep()
    mixed = installation.tokens()
    [moved] = [user for user in USERS if kid_of(mixed[user]) == kid_of(new)]
    [other] = set(USERS) - {moved}
    assert mixed[other] == before[other]
    installation.sweep()
    assert installation.tokens() == mixed
    # Both work, and row-level security still limits each to its own user.
    apps = dict(operator.sql("select user_id::text, id::text from public.user_fly_apps where deleted_at is null"))
    for user, token in (*mixed.items(), (moved, before[moved])):
        assert installation.read(token) == {user}
        assert installation.write(token, user, apps[user]) == 201
    assert installation.write(mixed[moved], other, apps[other]) == 403
    wait_until(installation.are_ready, "both programs work during the overlap")
    installation.sweep()
    installation.pass_an_hour()
    installation.sweep()
    after = installation.tokens()
    assert {kid_of(token) for token in after.values()} == {kid_of(new)}
    wait_until(installation.are_ready, "both programs work with the new key")
    # Step 5: nobody has an old token.
    installation.sweep()
    assert operator.json("credentials")["older_than_renew_from"] == 0
    ended = installation.instances()
    assert all(ended[app] != machines for app, machines in running.items())
    # Step 6: the old key is revoked.
    installation.keys.revoke(kid_of(old))
    installation.change_keys()
    assert {installation.read(token) for token in before.values()} == {401}
    assert [installation.read(after[user]) for user in USERS] == [{user} for user in USERS]
    for _ in range(3):
        installation.pass_an_hour()
        installation.sweep()
    assert installation.are_ready()
    assert installation.instances() == ended  # each machine was updated once, for its new token
    assert (installation.alert(), installation.doctor()[1]["state"]) == (None, "ok")


@pytest.mark.proof
@pytest.mark.slow
def test_the_old_key_revoked_first_is_named_and_repaired(installation, old):
    operator, new = installation.operator, make_signing_key()
    operator.sql("update hangar.settings set unhealthy_after = 1, bad_sample_gap_s = 0")
    operator.sql("update public.fly_plans set on_unhealthy = 'replace'")
    running = installation.instances()

    installation.keys.revoke(kid_of(old))
    installation.change_keys()
    assert {installation.read(token) for token in installation.tokens().values()} == {401}
    wait_until(lambda: not installation.are_ready(), "the programs say that they cannot read")
    # What the operator sees.
    code, check = installation.doctor()
    assert (code, check["state"]) == (1, "wrong")
    assert f"signs with the key {kid_of(old)}, which the project does not publish" in check["found"]
    assert "docs/credentials.md" in check["remedy"]
    installation.sweep()
    installation.sweep()
    assert "refuses the tokens of 2 app(s)" in installation.alert()
    wait_until(
        lambda: any("refuses the tokens of 2 app(s)" in json.dumps(each) for each in installation.cloud.alerts),
        "the message",
    )
    assert "NOT published by the project" in operator.hangar("credentials")[0]
    assert installation.instances() == running  # a restart would not help
    operator.hangar(*RENEW)  # neither would another token of the revoked key
    installation.sweep()
    assert installation.instances() == running

    # One bad sample sufficed so far. From here on a program that starts has its usual time.
    operator.sql("update hangar.settings set unhealthy_after = default, bad_sample_gap_s = default")
    # The operator imports another key and deploys it. Hangar does the rest.
    installation.keys.import_standby(new)
    installation.change_keys()
    installation.deploy(new)
    installation.sweep()  # learns of the key, and drains
    installation.sweep()
    assert {kid_of(token) for token in installation.tokens().values()} == {kid_of(new)}
    repaired = installation.instances()
    wait_until(installation.are_ready, "both programs work again")
    wait_until(installation.are_healthy, "Hangar finds them healthy")
    assert (installation.alert(), installation.doctor()[1]["state"]) == (None, "ok")
    assert installation.instances() == repaired  # one update each
