"""`hangar user erase`: a person leaves every table of ours, money and the course of events stay under a pseudonym."""

import json
import uuid
from decimal import Decimal

import psycopg
import pytest
from psycopg import sql

pytestmark = pytest.mark.every_postgres

ACTOR = "cli:test"
HOSTS_TABLES = ("signals", "traders", "user_profiles", "user_subscriptions")
KEPT = """select place from hangar.erasure_rules() where rule = 'keep'"""


def own_tables(hangar):
    """Every table of ours as information_schema shows it, with its columns and their types."""
    rows = hangar.sql(
        """select t.table_schema || '.' || t.table_name as name, c.column_name, c.udt_name
             from information_schema.tables t join information_schema.columns c using (table_schema, table_name)
            where t.table_type = 'BASE TABLE'
              and (t.table_schema = 'hangar' or t.table_schema = 'public' and t.table_name <> all (%s))""",
        list(HOSTS_TABLES),
    )
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        found.setdefault(row["name"], {})[row["column_name"]] = row["udt_name"]
    return found


def address(hangar, user):
    return hangar.one("select email from auth.users where id = %s", user)


def lead_a_life(hangar, act):
    """A user who paid, was pinned, was in a release, had secrets and a command, and has left. The app is deleted."""
    user = hangar.user("pro")
    row = hangar.converge(user)
    hangar.sql("update user_fly_apps set secrets_version = 1 where user_id = %s", user)
    request = uuid.uuid4()
    args = {"user": user, "name": "API_KEY", "request": request}
    hangar.rpc("fly_begin_user_secret", action="set", actor=ACTOR, reason="asked by the user", **args)
    hangar.rpc("fly_record_user_secret", version=2, digest="abc", **args)
    pin = {"held_back_until": "2999-01-01", "env": {"A": "b"}}
    hangar.rpc("fly_set_user_pin", user=user, pin=pin, actor=ACTOR, reason="Anna asked for it")
    hangar.rpc("fly_revoke_user", user=user, actor=ACTOR, reason="stolen laptop")
    hangar.rpc(
        "fly_record_command",
        id=uuid.uuid4(),
        user=user,
        command="cat anna.txt",
        status="intent",
        actor=ACTOR,
        reason="x",
    )
    hangar.sql("insert into hangar.releases (created_by, state, env) values ('test', 'completed', '{\"B\": \"c\"}')")
    hangar.sql(
        """insert into hangar.release_targets (release_id, row_id, user_id, wave, place, state, previous)
           select r.id, %s, %s, 1, 1, 'skipped', '{"given": {"env": {"A": "b"}}}' from hangar.releases r""",
        row["id"],
        user,
    )
    hangar.rpc("fly_set_override", user=user, override="deny", plan=None, actor=ACTOR, reason="a chargeback")
    hangar.subscribe(user, tier="free")
    hangar.shift_clock(3600)
    leased = hangar.lease(user)
    hangar.save(leased, events=[act.intent("delete_app", purpose="deprovision")])
    hangar.save(leased, deleted=True)
    assert hangar.row(user) is None
    # It ends with the app, so nothing but an older installation has it here.
    hangar.sql(
        """insert into hangar.user_specs (user_id, tier, spec)
           select user_id, tier, hangar.spec_of(a) from user_fly_apps a where user_id = %s""",
        user,
    )
    return user


def erase(hangar, user, *, apply=True, **more):
    return hangar.rpc("fly_erase_user", user=user, actor=ACTOR, reason="a request by mail", apply=apply, **more)


def naming(hangar, user, email):
    """The tables of ours with a row that names the user, and how many."""
    kept = [row["place"] for row in hangar.sql(KEPT)]
    found = {}
    for name in own_tables(hangar):
        if name not in kept:
            query = sql.SQL("select count(*) from {} t where t::text ilike %s or t::text ilike %s").format(
                sql.Identifier(*name.split("."))
            )
            if count := hangar.one(query, f"%{user}%", f"%{email}%"):
                found[name] = count
    return found


@pytest.fixture
def person(hangar, act):
    return lead_a_life(hangar, act)


def plant_everywhere(hangar, user, email):
    """Write id and address into every text and JSON column of ours that takes it, in every row."""
    kept = {row["place"] for row in hangar.sql(KEPT)} | {"public.fly_cost_intervals"}  # it has words of Fly only
    text = f"Mail to <{email.upper()}> about {user}."
    planted = 0
    hangar.sql("set session_replication_role = replica")
    for name, columns in own_tables(hangar).items():
        for column, kind in columns.items():
            if kind not in ("text", "jsonb", "_text") or {name, f"{name}.{column}"} & kept:
                continue
            value = {"jsonb": json.dumps({"note": text}), "_text": [text]}.get(kind, text)
            query = sql.SQL("update {} set {} = %s").format(sql.Identifier(*name.split(".")), sql.Identifier(column))
            try:
                planted += hangar.admin.execute(query, [value]).rowcount
            except psycopg.errors.IntegrityError:
                continue  # the schema allows only some words there
    hangar.sql("set session_replication_role = origin")
    return planted


def test_no_table_of_ours_names_the_person_any_more(hangar, person):
    """Every table with a user's id holds the person before, so that a new table cannot be forgotten, and none does after."""
    email = address(hangar, person)
    hangar.sql("insert into hangar.marks (user_id) values (%s)", person)
    hangar.sql("insert into hangar.host_losses (user_id, why) values (%s, 'no_subscription')", person)
    hangar.sql("update hangar.releases set users = array[%s]::uuid[], canary_users = array[%s]::uuid[]", person, person)
    hangar.rpc(
        "fly_raise_alert",
        kind="test",
        key=str(person),
        message=f"{email} is unhappy",
        metadata={"user_id": str(person)},
    )
    # The user of these two is refused, see below.
    without = {"hangar.operators", "public.fly_orphans"}
    before = naming(hangar, person, email)
    with_users = {
        name
        for name, columns in own_tables(hangar).items()
        for kind in ("user_id", "users")
        if "uuid" in columns.get(kind, "")
    }
    assert with_users - without <= set(before)
    erase(hangar, person)
    assert naming(hangar, person, email) == {}


def test_free_text_loses_id_and_address_in_every_column(hangar, person):
    """Also where another row's text names the person, in any case of letters."""
    hangar.user("pro")
    email = address(hangar, person)
    assert plant_everywhere(hangar, person, email) > 50
    erase(hangar, person)
    assert naming(hangar, person, email) == {}


def test_an_address_within_a_longer_one_stays(hangar, person):
    """ann@x.test is another person than joann@x.test and ann@x.test.example."""
    hangar.sql("update user_profiles set email = 'ann@x.test' where id = %s", person)
    text = "joann@x.test, ann@x.test.example, ann@x.test-shop and Ann@X.test."
    hangar.sql(
        "insert into user_fly_app_events (event_type, status, error_details) values ('alert_raised', 'info', %s)", text
    )
    erase(hangar, person)
    assert (
        hangar.one("select error_details from user_fly_app_events where error_details like 'joann%%'")
        == "joann@x.test, ann@x.test.example, ann@x.test-shop and (erased)."
    )


TEXTS = (
    ("see\n{}", "see\n(erased)"),
    ("\t{}\r\n{}\x01{}", "\t(erased)\r\n(erased)\x01(erased)"),
    ("CORP\\{}", "CORP\\(erased)"),
    ('body: {{"to": "\\n{}\\u003c{}\\u003e"}}', 'body: {{"to": "\\n(erased)\\u003c(erased)\\u003e"}}'),
    ("/find?email={}&x", "/find?email=(erased)&x"),
    ("/find?email=tom%2Bx%40x.test&x", "/find?email=(erased)&x"),
    ("%3Ctom%2bx%40X.test%3E", "%3C(erased)%3E"),
    # Other persons.
    ("see\tom+x@x.test", "see\tom+x@x.test"),
    ("atom%2Bx%40x.test", "atom%2Bx%40x.test"),
)


def test_an_address_is_found_behind_every_escape_and_in_urls(hangar, person):
    """A line break is an n in JSON, and JSON within a text has escapes of its own. No other address is touched."""
    email = "tom+x@x.test"
    hangar.sql("update user_profiles set email = %s where id = %s", email, person)
    texts = [text.replace("{}", email).replace("{{", "{").replace("}}", "}") for text, _ in TEXTS]
    for key, text in enumerate(texts):
        hangar.rpc("fly_raise_alert", kind="test", key=str(key), message=text, metadata={"text": text})
    found = hangar.rpc("fly_search_log", user=person)
    erase(hangar, person, mentions=found["mentions"], read_to=int(found["last"]) + 100000)
    wanted = [text.replace("{{", "{").replace("}}", "}") for _, text in TEXTS]
    alerts = "select message, metadata ->> 'text' as text from hangar.alerts where kind = 'test' order by key"
    assert [row["text"] for row in hangar.sql(alerts)] == wanted
    assert [row["message"] for row in hangar.sql(alerts)] == wanted
    log = "select error_details as text from user_fly_app_events where event_type = 'alert_raised' order by seq"
    assert [row["text"] for row in hangar.sql(log)][-len(wanted) :] == wanted
    assert erase(hangar, person)["changes"] == []


def test_an_address_that_the_host_no_longer_has_goes_too(hangar, person):
    """The operator names it; the present one goes as well."""
    new = address(hangar, person)
    for text in ("Old@x.test wrote", f"{new} wrote"):
        hangar.sql(
            "insert into user_fly_app_events (event_type, status, error_details) values ('alert_raised', 'info', %s)",
            text,
        )
    assert erase(hangar, person, email="old@X.test")["searched"] == sorted(["old@x.test", new])
    assert hangar.one("select count(*) from user_fly_app_events where error_details = '(erased) wrote'") == 2


def test_money_and_the_course_of_events_stay(hangar, person):
    """Sums, order, types and times are as before; the proof that the app was Hangar's too."""
    hangar.sql("update fly_cost_intervals set started_at = started_at - interval '10 hours' where user_id = %s", person)
    total = "select sum(price_usd_per_s * extract(epoch from ended_at - started_at)) as usd from fly_cost_intervals"
    log = "select seq, id, fly_app_id, event_type, status, created_at from user_fly_app_events order by seq"
    apps = "select id, fly_app_name, network, status, created_at, deleted_at from user_fly_apps order by id"
    money, course, closed = hangar.one(total), hangar.sql(log), hangar.sql(apps)
    spent = erase(hangar, person)
    assert money > 0
    assert Decimal(spent["money"]["usd"]) == pytest.approx(money, abs=Decimal("0.000001"))
    assert hangar.one(total) == money
    assert hangar.sql(log)[:-1] == course
    assert hangar.sql(apps) == closed
    assert hangar.sql(f"{total} where user_id = %s", spent["pseudonym"])[0]["usd"] == money
    owners = {str(row["user_id"]) for row in hangar.sql("select user_id from user_fly_apps")}
    assert owners == {spent["pseudonym"]}


def test_what_operators_wrote_about_the_person_goes(hangar, person):
    """Reasons and commands are free text about one person, whatever they say."""
    erase(hangar, person)
    log = json.dumps(
        [
            row["m"]
            for row in hangar.sql(
                "select metadata || jsonb_build_object('e', error_details) as m from user_fly_app_events"
            )
        ]
    )
    for told in ("Anna", "asked by the user", "stolen laptop", "chargeback", "anna.txt"):
        assert told not in log


def test_the_log_keeps_one_event_about_it(hangar, person):
    """Pseudonym, actor and reason; no address, not even in the reason."""
    email = address(hangar, person)
    done = hangar.rpc("fly_erase_user", user=person, actor=ACTOR, reason=f"{email} asked", apply=True)
    [event] = hangar.sql("select * from user_fly_app_events where event_type = 'user_erased'")
    assert (str(event["user_id"]), event["metadata"]["actor"]) == (done["pseudonym"], ACTOR)
    assert event["metadata"]["reason"] == "(erased) asked"
    assert done["pseudonym"] != str(person)


def test_a_dry_run_shows_exactly_what_would_happen_and_changes_nothing(hangar, person):
    """The same rows as with p_apply, and the database as before."""
    email = address(hangar, person)
    before = naming(hangar, person, email)
    shown = erase(hangar, person, apply=False)
    assert (shown["applied"], shown["pseudonym"], shown["refusals"]) == (False, None, [])
    assert naming(hangar, person, email) == before
    assert hangar.sql("select * from hangar.erased_users") == []
    assert erase(hangar, person)["changes"] == shown["changes"]


def test_a_second_time_there_is_nothing_left(hangar, person):
    """No second event and no second pseudonym; the pseudonym itself is refused."""
    done = erase(hangar, person)
    again = erase(hangar, person)
    assert (again["changes"], again["applied"], again["pseudonym"]) == ([], False, done["pseudonym"])
    assert hangar.one("select count(*) from user_fly_app_events where event_type = 'user_erased'") == 1
    with pytest.raises(psycopg.Error, match="pseudonym of a person"):
        erase(hangar, uuid.UUID(done["pseudonym"]))


def test_the_same_person_may_come_back_as_a_new_user(hangar, act, person):
    """A new subscription gives a new app with a new name; erased again, both lives have the same pseudonym."""
    first = erase(hangar, person)
    old = hangar.one("select fly_app_name from user_fly_apps")
    hangar.subscribe(person, tier="pro")
    row = hangar.converge(person)
    assert row["fly_app_name"] != old
    assert hangar.rpc("fly_user_status", user=person)["row"]["status"] == "active"
    assert hangar.sql(
        "select * from user_fly_app_events where user_id = %s and event_type = 'provision_requested'", person
    )
    hangar.subscribe(person, tier="free")
    hangar.shift_clock(7200)
    leased = hangar.lease(person)
    hangar.save(leased, events=[act.intent("delete_app", purpose="deprovision")])
    hangar.save(leased, deleted=True)
    assert erase(hangar, person)["pseudonym"] == first["pseudonym"]
    assert naming(hangar, person, address(hangar, person)) == {}


def test_the_hosts_tables_are_not_touched(hangar, person):
    """Whether the host keeps the person is the host's business."""
    tables = ("auth.users", "public.user_profiles", "public.user_subscriptions")
    before = [hangar.sql(f"select * from {table}") for table in tables]
    erase(hangar, person)
    assert [hangar.sql(f"select * from {table}") for table in tables] == before


def refusals(hangar, user):
    codes = [refusal["code"] for refusal in erase(hangar, user, apply=False)["refusals"]]
    if codes:
        log = hangar.sql("select * from user_fly_app_events order by seq")
        with pytest.raises(psycopg.Error, match="nothing was erased"):
            erase(hangar, user)
        assert hangar.sql("select * from user_fly_app_events order by seq") == log
    return codes


def test_a_person_with_an_app_is_refused(hangar):
    """Entitled or not: the app at Fly is the person's too."""
    user = hangar.user("pro")
    hangar.converge(user)
    assert refusals(hangar, user) == ["entitled", "app"]
    hangar.subscribe(user, tier="free")
    assert refusals(hangar, user) == ["app"]


def test_waiting_does_not_help_for_an_app_of_the_original_system(hangar):
    """Hangar never deletes one that no operator has decided about."""
    user = hangar.user("pro")
    hangar.converge(user)
    hangar.subscribe(user, tier="free")
    hangar.sql("update hangar.settings set live = false")
    hangar.sql(
        "update user_fly_apps set desired_state = 'legacy', generation = 0, observed_generation = null, lease_token = null,"
        " lease_expires_at = null, next_attempt_at = null, open_intent = null, machine_id = null, secrets_version = null"
        " where user_id = %s",
        user,
    )
    [refusal] = erase(hangar, user, apply=False)["refusals"]
    assert refusal["code"] == "app"
    assert "hangar adopt" in refusal["message"]
    assert "Wait" not in refusal["message"]


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        ("update user_subscriptions set tier = 'elite' where user_id = %s", "entitled"),
        (
            "with r as (delete from hangar.status_rules) update user_subscriptions set tier = 'elite' where user_id = %s",
            "unknown",
        ),
        (
            """with o as (insert into fly_overrides (user_id, override, actor)
                          select id, 'deny', 'test' from auth.users where id = %s
                          returning user_id)
               update user_subscriptions s set tier = 'elite' from o where s.user_id = o.user_id""",
            "denied",
        ),
        ("insert into fly_orphans (app, network, user_id) values ('vyx-user-1', 'hangar-1', %s)", "orphan"),
        ("insert into hangar.operators (user_id, added_by) values (%s, 'test')", "operator"),
        ("update hangar.user_secrets set state = 'setting', requested_at = hangar.now() where user_id = %s", "secret"),
        (
            """with r as (update hangar.releases set state = 'rolling')
               update hangar.release_targets set state = 'verifying' where user_id = %s""",
            "release",
        ),
    ],
)
def test_what_must_happen_first_is_said(hangar, person, prepare, code):
    """Nothing is erased while Hangar would act for the person again, or still holds something at Fly."""
    hangar.sql("delete from fly_overrides")
    hangar.deafen()
    assert erase(hangar, person, apply=False)["refusals"] == []
    hangar.sql(prepare, person)
    assert refusals(hangar, person) == [code]


def test_rows_on_their_way_to_the_archive_are_refused(hangar, person):
    """Their checksum is stored already; an object with the person in it may exist. Finishing the batch comes first."""
    hangar.sql("update hangar.settings set events_retention_days = 30")
    hangar.sql("set session_replication_role = replica")
    hangar.sql(
        "update user_fly_app_events set created_at = created_at - interval '40 days' where event_type <> 'action'"
    )
    hangar.sql("set session_replication_role = origin")
    hangar.sql("insert into user_fly_app_events (event_type, status) values ('settings_changed', 'info')")
    at = hangar.one("select hangar.now()")
    batch = hangar.rpc("fly_archive_plan", source="events", bucket="s3://b", prefix="", at=at, actor=ACTOR)["batch"]
    assert batch["rows"] > 0
    assert refusals(hangar, person) == ["archiving"]


def test_a_token_from_before_stays_refused(hangar, person):
    """The revocation goes with the person, so the erasure itself refuses every token that was issued before it."""

    def is_valid(iat):
        claims = {"sub": str(person), "app_id": "a", "iat": iat}
        hangar.sql("select set_config('request.jwt.claims', %s, false)", json.dumps(claims))
        return hangar.one("select hangar.token_is_valid()")

    erase(hangar, person)
    erased_at = int(hangar.one("select extract(epoch from erased_at) from hangar.erased_users"))
    assert [is_valid(erased_at - 1), is_valid(erased_at), is_valid(erased_at + 1)] == [False, False, True]


def test_a_user_who_returns_gets_a_token_from_after_the_erasure(hangar, person):
    """Also if the clock was set back meanwhile. A token that was issued for the time of the clock would be refused."""
    erase(hangar, person)
    hangar.shift_clock(0)
    hangar.sql("delete from fly_overrides")
    hangar.subscribe(person, tier="pro")
    row = hangar.live_row(person)
    erased_at = hangar.one("select erased_at from hangar.erased_users")
    assert row["created_at"] < erased_at
    assert row["token_wanted_at"] == erased_at


def test_the_log_still_refuses_every_other_change(hangar, person):
    """Erasing opens the log in its own transaction, for the columns that name somebody."""
    erase(hangar, person)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        hangar.sql("update user_fly_app_events set user_id = null")
    with hangar.admin.transaction(force_rollback=True):
        hangar.sql("update hangar.erased_users set erasing_in = pg_current_xact_id()")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            hangar.sql("update user_fly_app_events set created_at = now()")


def test_pages_of_the_log_find_who_is_named(hangar, person):
    """What a page found, and what came after it, is erased; the rest is found by its user."""
    email = address(hangar, person)
    seq = hangar.one(
        "insert into user_fly_app_events (event_type, status, error_details) values ('alert_raised', 'info', %s) returning seq",
        f"{email} has no app",
    )
    hangar.sql("select setval('user_fly_app_events_seq_seq', 100000)")
    hangar.sql("insert into user_fly_app_events (event_type, status) values ('settings_changed', 'info')")
    mentions, after = [], 0
    while (page := hangar.rpc("fly_search_log", user=person, after=after, limit=3))["read"]:
        mentions, after = mentions + page["mentions"], int(page["last"])
    assert str(seq) in mentions
    erase(hangar, person, read_to=after)
    assert list(naming(hangar, person, email)) == ["public.user_fly_app_events"]
    erase(hangar, person, mentions=mentions, read_to=after)
    assert naming(hangar, person, email) == {}


def test_each_rule_names_a_table_or_column_that_exists(hangar):
    """A renamed table must not fall out of its rule unseen."""
    tables = own_tables(hangar)
    places = {row["place"] for row in hangar.sql("select place from hangar.erasure_rules()")}
    assert places <= set(tables) | {f"{name}.{column}" for name, columns in tables.items() for column in columns}
    assert {row["name"] for row in hangar.sql("select name from hangar.erasure_tables()")} == set(tables)
