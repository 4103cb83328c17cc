"""`hangar doctor` on a whole local cloud: mistakes of a stranger, one at a time, each named, and gone after its remedy."""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from local.http_server import Response, Server
from local.supabase.extensions.pg_net import PgNetWorker
from ops.commands.doctor import print_checks
from shared.doctor.checks import DATABASE, Check
from tests.http.doctor_mistakes import MISTAKES
from tests.http.running_operator import DEADLINE_S, CommandCloud, open_operator
from tests.support.loopback import LOOPBACK
from tests.support.registry import LoopbackRegistry

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "supabase" / "migrations"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory, _postgres_servers):
    with CommandCloud(tmp_path_factory.mktemp("cloud"), _postgres_servers("clouds")) as cloud:
        yield cloud


@pytest.fixture
def operator(cloud, tmp_path):
    """An operator whose shell has every variable of the functions, of a live installation that has just been swept."""
    with open_operator(cloud, tmp_path) as operator:
        known = cloud.addresses
        operator.env |= {
            "SUPABASE_PUBLISHABLE_KEY": known["publishable_key"],
            "FLY_API_URL": known["fly_api_url"],
            "FLY_API_TOKEN": known["fly_api_token"],
            "FLY_ORG_SLUG": known["fly_org"],
            "HANGAR_INSTALLATION_ID": str(operator.sql("select installation_id from hangar.settings")[0][0]),
            "HANGAR_USER_TOKEN_KEY": known["auth_signing_key"],
            "HANGAR_ALERT_WEBHOOK_URL": known["alerts_url"],
        }
        operator.sql("update hangar.settings set live = true")
        operator.sql("update public.fly_plans set price_usd = 29 where dedicated and price_usd is null")
        operator.hangar("sweep")
        yield operator


def examine(operator, env=None):
    """Every check by name. The exit code says whether one is wrong, and no secret is shown."""
    code, out, err = operator.run_here(["doctor", "--json"], env)
    assert code in (0, 1), out + err
    assert err == ""
    for secret in ("SUPABASE_SECRET_KEY", "HANGAR_WEBHOOK_SECRET", "FLY_API_TOKEN"):
        assert operator.env[secret] not in out
    answer = json.loads(out)
    states = [check["state"] for check in answer["checks"]]
    assert {state: states.count(state) for state in ("ok", "warning", "wrong")} == {
        state: answer[state] for state in ("ok", "warning", "wrong")
    }
    assert code == (1 if answer["wrong"] else 0)
    assert all(check["remedy"] for check in answer["checks"] if check["state"] != "ok")
    return {check["name"]: check for check in answer["checks"]}


def run_sql(operator, text):
    """Several statements, as the SQL editor runs them."""
    operator.database.execute(text.encode())


def wait_until(holds):
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def read_statement(function):
    """The statement of the migrations that creates a function, with `or replace`."""
    for path in sorted(MIGRATIONS.glob("*.sql")):
        _, found, rest = path.read_text().partition(f"create function hangar.{function}(")
        if found:
            return f"create or replace function hangar.{function}({rest.partition('$$;')[0]}$$;".replace(
                "$$;", "$$;", 1
            )
    raise AssertionError(function)


def set_skew(operator, seconds):
    url = f"{operator.fly_url}/_sim/clock"
    LOOPBACK.put(url, json={"skew_s": seconds}).raise_for_status()


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_named_and_its_remedy_ends_it(cloud, operator, mistake):
    """The check names the mistake. After the remedy it is what it was before."""
    before = examine(operator)[mistake.check]["state"]
    tidy = mistake.after
    try:
        if mistake.make:
            run_sql(operator, mistake.make.replace("{supabase}", cloud.addresses["supabase_url"]))
        operator.set_faults(*mistake.faults)
        set_skew(operator, mistake.skew_s)
        found = examine(operator, mistake.env)[mistake.check]
        assert found["state"] == mistake.state, found
        assert mistake.says in found["found"]
    finally:
        operator.set_faults()
        set_skew(operator, 0)
        if mistake.undo.startswith("file:"):
            run_sql(operator, read_statement(mistake.undo.removeprefix("file:")))
        elif mistake.undo:
            run_sql(operator, mistake.undo)
    try:
        if mistake.runs == "sql":
            run_sql(operator, f"set role {mistake.role}; {found['remedy']}\n; reset role")
        elif mistake.runs == "command":
            words = shlex.split(found["remedy"].partition("  --")[0])
            assert words.pop(0) == "hangar"
            operator.hangar(*words)
        assert examine(operator)[mistake.check]["state"] == before
    finally:
        if tidy:
            run_sql(operator, tidy)


def test_a_new_cloud_has_nothing_wrong(operator):
    """With every variable, the only warnings are what the local cloud cannot show."""
    found = examine(operator)
    assert {name for name, check in found.items() if check["state"] == "wrong"} == set()
    warnings = {name for name, check in found.items() if check["state"] == "warning"}
    assert warnings <= {"fly_token_expiry", "images", "cron_sweep", "cron_drain", "webhook_delivery", "open_alerts"}


@pytest.mark.slow
def test_a_dead_worker_of_pg_net_is_named(cloud, operator):
    """The database queues calls that nobody sends. A new worker sends them, and the check is ok again."""
    cloud.pg_net.stop()
    try:
        found = examine(operator)["pg_net"]
        assert (found["state"], found["remedy"]) == ("wrong", "select net.worker_restart();")
        operator.sql("select hangar.call_health(true)")
        operator.sql(
            "update net.http_request_queue set headers = headers || jsonb_build_object('webhook-timestamp',"
            " (extract(epoch from clock_timestamp())::bigint - 120)::text)"
        )
        assert "waits in the queue" in examine(operator)["pg_net"]["found"]
    finally:
        cloud.pg_net = PgNetWorker(cloud.addresses["database_url"], pause_s=0.1).start()
    wait_until(lambda: examine(operator)["pg_net"]["state"] == "ok")


@pytest.mark.slow
def test_functions_of_another_version_are_named(operator, tmp_path):
    """The command of a version with one more line in a function: a deployment is due."""
    assert examine(operator)["functions_code"]["state"] == "ok"
    newer = tmp_path / "newer"
    for package in ("shared", "functions", "ops", "local", "supabase"):
        shutil.copytree(ROOT / package, newer / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (newer / "functions" / "responses.py").open("a") as file:
        file.write("# one more line\n")
    command = [sys.executable, "-c", "from ops.cli import main; main()", "doctor", "--json"]
    env = {**operator.env, "PYTHONPATH": str(newer)}
    done = subprocess.run(command, cwd=newer, env=env, capture_output=True, text=True, check=False)
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}["functions_code"]
    assert found["state"] == "warning", done.stderr
    assert "the functions run the code of another version" in found["found"]
    assert "hangar deploy" in found["remedy"]


@pytest.mark.slow
def test_a_call_of_the_database_that_was_refused_is_named(operator):
    """The database's own calls arrive with another secret. With the right one the next call is accepted."""
    secret = operator.env["HANGAR_WEBHOOK_SECRET"]
    change = "select vault.update_secret((select id from vault.secrets where name = 'hangar_webhook_secret'), %s)"
    operator.sql(change, "whsec_" + "q83v" * 8)
    try:
        operator.sql("select hangar.call_health(true)")
        wait_until(lambda: "401" in examine(operator)["webhook_delivery"]["found"])
        assert examine(operator)["webhook_delivery"]["state"] == "wrong"
    finally:
        operator.sql(change, secret)
    operator.sql("select hangar.call_health(true)")
    wait_until(lambda: examine(operator)["webhook_delivery"]["state"] == "ok")


@pytest.mark.slow
def test_images_that_do_not_exist_or_cannot_run_are_named(operator):
    """The registry is asked about the default image and those of the plans."""
    [(before,)] = operator.sql("select default_image from hangar.settings")
    with LoopbackRegistry() as registry:
        image = f"{registry.host}/backend:v1"
        operator.hangar("settings", "set", f"default_image={image}")
        try:
            assert examine(operator)["images"]["state"] == "wrong"
            registry.push("backend:v1", "arm64/linux")
            found = examine(operator)["images"]
            assert found["state"] == "wrong"
            assert "arm64/linux" in found["found"]
            registry.push("backend:v1")
            assert examine(operator)["images"]["state"] == "ok"
        finally:
            operator.sql("update hangar.settings set default_image = %s", before)


def test_a_receiver_that_answers_500_is_named_without_its_path(operator):
    """The path of such a URL is a credential."""
    with Server(lambda _: Response(500)) as receiver:
        found = examine(operator, {"HANGAR_ALERT_WEBHOOK_URL": f"{receiver.url}/T0/secret-path"})["alert_webhook"]
    assert found["state"] == "wrong"
    assert "answers 500" in found["found"]
    assert "secret-path" not in found["found"]


@pytest.mark.slow
def test_caps_below_the_fleet_are_named(operator):
    """The remedy raises the cap to what the fleet needs."""
    users = operator.add_users(2)
    operator.hangar("sweep")
    assert len(operator.statuses()) == len(users)
    for setting, low in (("max_apps", "1"), ("max_monthly_cost_usd", "3")):
        operator.hangar("settings", "set", f"{setting}={low}")
        try:
            found = examine(operator)["caps"]
            assert found["state"] == "wrong"
            operator.hangar(*shlex.split(found["remedy"])[1:])
            assert examine(operator)["caps"]["state"] == "ok"
        finally:
            operator.hangar("settings", "set", f"{setting}=none")


@pytest.mark.slow
def test_an_organisation_that_fly_refuses_is_named_with_the_page_to_open(operator):
    """Fly's API does not say what an organisation owes. What it refused to a sweep does."""
    # Before the user pays: the wake-up call of the database may be faster than this test.
    operator.set_faults(
        {"method": "POST", "path": "/v1/apps", "status": 402, "body": {"error": "Please add a payment method."}}
    )
    operator.add_users(1)
    operator.run_here(["sweep"])  # ends with 1 if it meets the refusal itself
    wait_until(lambda: examine(operator)["organisation"]["state"] == "wrong")
    found = examine(operator)["organisation"]
    assert "/billing" in found["remedy"]
    operator.set_faults()
    operator.sql("update public.user_fly_apps set next_attempt_at = now() where deleted_at is null")
    operator.hangar("sweep")
    wait_until(lambda: examine(operator)["organisation"]["state"] == "ok")


@pytest.mark.slow
def test_a_token_that_can_only_read_is_named_and_nothing_changes(operator):
    """Fly accepts the token and lists everything for it; only Fly itself knows that it may not write."""
    reader = "FlyV1 fm2_reader0000000000"
    LOOPBACK.put(f"{operator.fly_url}/_sim/read-only-tokens", json=[reader]).raise_for_status()
    before = operator.apps_on_fly()
    try:
        found = examine(operator, {"FLY_API_TOKEN": reader})
        assert found["fly_token"]["state"] == found["fly_organisation"]["state"] == "ok"
        assert found["fly_token_scope"]["state"] == "wrong"
        assert "not create apps" in found["fly_token_scope"]["found"]
        assert found["fly_token_scope"]["remedy"].startswith("fly tokens create org --org hangar-local")
    finally:
        LOOPBACK.put(f"{operator.fly_url}/_sim/read-only-tokens", json=[]).raise_for_status()
    assert operator.apps_on_fly() == before
    assert examine(operator)["fly_token_scope"]["state"] == "ok"


@pytest.mark.parametrize("status", [404, 429, 500, 501])
def test_a_fly_that_does_not_judge_the_token_leaves_its_rights_unchecked(operator, status):
    """An answer that says nothing about the token is neither ok nor wrong."""
    operator.set_faults(
        {"method": "POST", "path": "/v1/tokens/authorize", "status": status, "body": {"error": "nothing here"}}
    )
    found = examine(operator)["fly_token_scope"]
    assert (found["state"], found["found"].startswith("not checked")) == ("warning", True)


def test_urls_with_a_trailing_slash_are_accepted(operator):
    """A URL of a function that ends in a slash works, so it is not named."""
    [(urls,)] = operator.sql("select decrypted_secret from vault.decrypted_secrets where name = 'hangar_functions_url'")
    assert all(url.endswith("/") for url in slashed(urls).values())
    change = "select vault.update_secret((select id from vault.secrets where name = 'hangar_functions_url'), %s)"
    operator.sql(change, json.dumps(slashed(urls)))
    try:
        found = examine(operator)
        assert {found[name]["state"] for name in ("vault_functions_url", "function_health")} == {"ok"}
    finally:
        operator.sql(change, urls)


def slashed(urls):
    return {name: url.rstrip("/") + "/" for name, url in json.loads(urls).items()}


def test_without_the_database_every_other_check_still_runs(operator):
    """A wrong key: the database's checks are not made and none is ok; Fly is asked all the same."""
    found = examine(operator, {"SUPABASE_SECRET_KEY": "sb_secret_0000000000000000000000"})
    assert found["database"]["state"] == "wrong"
    assert {found[name]["state"] for name in DATABASE} == {"warning"}
    assert found["schema"]["found"].startswith("not checked")
    assert found["fly_token"]["state"] == "ok"
    assert found["fly_organisation"]["state"] == "ok"


def test_without_variables_of_the_functions_the_checks_say_so(operator):
    """An operator's shell needs only the database: what it cannot check is a warning and never ok."""
    for name in ("FLY_API_TOKEN", "HANGAR_INSTALLATION_ID", "SUPABASE_PUBLISHABLE_KEY", "HANGAR_USER_TOKEN_KEY"):
        del operator.env[name]
    code, out, _ = operator.run_here(["doctor", "--json"], {"HANGAR_WEBHOOK_SECRET": ""})
    found = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 0
    for name in ("environment", "publishable_key", "installation_id", "webhook_secret", "fly_token", "fly_token_scope"):
        assert found[name]["state"] == "warning"
        assert "not checked" in found[name]["found"]
    assert found["function_health"]["state"] == "ok"


def test_no_installation_at_all_is_a_wrong_usage(operator):
    """Exit code 2 and one line, as for every command."""
    for name in ("SUPABASE_URL", "SUPABASE_SECRET_KEY"):
        del operator.env[name]
    code, out, err = operator.run_here(["doctor"])
    assert (code, out) == (2, "")
    assert "SUPABASE_URL" in err


def test_doctor_changes_nothing(operator):
    """Neither a row of Hangar or of the host, nor an app on Fly."""
    tables = [name for (name,) in operator.sql("select name from hangar.doctor_relations() where is_table order by 1")]
    state = " union all ".join(
        f"select '{name}', md5(string_agg(x::text, '' order by x::text)) from {name} x" for name in tables
    )
    before = operator.sql(f"{state} order by 1"), operator.apps_on_fly()
    examine(operator)
    assert (operator.sql(f"{state} order by 1"), operator.apps_on_fly()) == before


def test_a_pipe_gets_one_line_for_each_check_with_its_remedy(operator):
    operator.sql("update cron.job set active = false where jobname = 'hangar-drain'")
    try:
        out, _ = operator.hangar("doctor", exits=1)
    finally:
        operator.sql("update cron.job set active = true where jobname = 'hangar-drain'")
    head, *lines = [line.split("\t") for line in out.splitlines()]
    assert head == ["check", "state", "found", "remedy"]
    [[_, _, found, remedy]] = [line for line in lines if line[1] == "wrong"]
    assert "the job hangar-drain is disabled" in found
    assert remedy.startswith("select cron.unschedule('hangar-drain');")


def test_a_terminal_shows_the_remedy_below_what_is_not_ok(capsys):
    checks = [Check("clock", "ok", "fine", "nothing"), Check("cron", "wrong", "the job\x1b[2J is disabled", "select 1")]
    print_checks(Console(force_terminal=True, no_color=True, width=80), checks)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["ok", "clock", "fine"],
        ["wrong", "cron", "the", "job\\x1b[2J", "is", "disabled"],
        ["do:", "select", "1"],
        ["1", "ok,", "0", "warning,", "1", "wrong"],
    ]
