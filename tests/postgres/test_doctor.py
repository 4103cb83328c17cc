"""The database's part of `hangar doctor`: what it finds in a new installation, and that it only reads."""

import psycopg
import pytest

from ops.doctor.schema import check_schema, read_schema
from shared.doctor.checks import DATABASE

pytestmark = pytest.mark.every_postgres


def test_a_new_installation_lacks_only_what_is_set_up_later(hangar):
    """Vault, the worker of pg_net and the functions are missing here. Nothing else is wrong, and every check has run."""
    found = {check["name"]: check for check in hangar.rpc("fly_doctor")["checks"]}
    assert [name for name, check in found.items() if check["found"].startswith("not checked")] == []
    wrong = {name for name, check in found.items() if check["state"] == "wrong"}
    assert wrong == {"pg_net", "vault_functions_url", "vault_webhook_secret"}
    assert all(check["remedy"] for check in found.values() if check["state"] != "ok")


def test_doctor_changes_nothing(hangar):
    """Every check runs in a read-only transaction, also when the host has users and Vault is filled."""
    hangar.fill_vault()
    hangar.user("pro")
    hangar.admin.execute("update public.fly_plans set price_usd = null")
    with hangar.service.transaction():
        hangar.service.execute("set transaction read only")
        answer = hangar.rpc("fly_doctor")
    assert [check for check in answer["checks"] if check["found"].startswith("not checked")] == []


def test_a_check_that_fails_is_named_and_the_others_still_run(hangar):
    """A check that raises is never ok, and says what was raised."""
    hangar.sql("drop view vault.decrypted_secrets cascade")
    found = {check["name"]: check for check in hangar.rpc("fly_doctor")["checks"]}
    assert found["vault_functions_url"]["state"] == "warning"
    assert "not checked" in found["vault_functions_url"]["found"]
    assert "decrypted_secrets" in found["vault_functions_url"]["found"]
    assert found["open_alerts"]["state"] == "ok"


def test_doctor_knows_every_relation_of_ours(hangar):
    """A table or view that is added later is checked too."""
    ours = hangar.sql(
        "select format('%%I.%%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'v') and (n.nspname = 'hangar'"
        " or n.nspname = 'public' and (c.relname like 'fly\\_%%' or c.relname like 'user\\_fly\\_%%'))"
    )
    known = hangar.sql("select name from hangar.doctor_relations()")
    assert {row["name"] for row in ours} == {row["name"] for row in known}


def test_some_checks_can_be_asked_for(hangar):
    """A caller whose call was cancelled asks for each check alone. A name that does not exist is refused."""
    call = "select public.fly_doctor(%s::text[], false)"
    [answer] = hangar.service.execute(call, [["live", "paused"]]).fetchone()
    assert [check["name"] for check in answer["checks"]] == ["live", "paused"]
    assert answer.keys() == {"checks"}
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="livre"):
        hangar.service.execute(call, [["livre"]])


def test_no_secret_is_shown(hangar):
    """The answer holds signatures and no secret."""
    hangar.fill_vault()
    answer = hangar.rpc("fly_doctor")
    assert answer["probes"]["health"]["headers"]["webhook-signature"].startswith("v1,")
    assert "whsec_" + "q83v" * 8 not in str(answer)


def test_the_command_knows_the_names_of_the_database(common):
    """The order of the database is that of the command and of docs/doctor.md."""
    assert tuple(common.one("select hangar.doctor_names()")) == DATABASE


def test_the_schema_is_that_of_the_files(installed):
    """What the command reads from the files is what the database has, and it reads every function and table."""
    found = installed.rpc("fly_doctor")["schema"]
    expected = read_schema()
    assert check_schema(found).state == "ok", check_schema(found)
    assert set(expected.relations) == set(found["relations"])
    assert set(expected.policies) == set(found["policies"])
    assert {name for name in found["functions"] if name.startswith("public.")} <= set(expected.functions)


@pytest.mark.parametrize(
    "setting",
    ["intervalstyle = 'iso_8601'", "datestyle = 'German'", "quote_all_identifiers = on", "timezone = 'Asia/Tokyo'"],
)
def test_a_setting_of_the_host_does_not_change_how_the_schema_is_read(hangar, setting):
    """Postgres writes rules and views by such settings. A changed one is no changed view."""
    hangar.admin.execute(f"set {setting}".encode())
    assert hangar.one("select hangar.doctor_shape()")["state"] == "ok"
