"""What the dashboard reads, as `service_role`: filters, pages without gap or repeat, and the indexes that keep them quick."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from psycopg import errors

pytestmark = pytest.mark.every_postgres


def pages(hangar, procedure="fly_admin_fleet", key="rows", **args):
    """Every row of every page."""
    found, after = [], None
    while True:
        page = hangar.rpc(procedure, after=after, **args)
        found += page[key]
        after = page["next"]
        if after is None:
            return found


def ids(rows):
    return [row["user_id"] for row in rows]


@pytest.fixture
def fleet(hangar):
    """Thirty paying users; every value that is sorted by occurs several times."""
    users = [hangar.user("pro" if number % 3 else "elite") for number in range(30)]
    hangar.sql(
        """update user_fly_apps a
              set created_at = '2026-01-01'::timestamptz + (n.place %% 7) * interval '1 day', retry_count = n.place %% 4,
                  monthly_cost_estimate_usd = nullif(n.place %% 5, 0),
                  last_health_check = case when n.place %% 3 = 0 then null else now() end
             from (select id, row_number() over (order by id) as place from user_fly_apps) n where n.id = a.id"""
    )
    return [str(user) for user in users]


@pytest.mark.parametrize("sort", ["created", "app", "cost", "checked", "retries"])
@pytest.mark.parametrize("descending", [True, False])
def test_the_pages_of_any_order_hold_every_app_once_and_in_order(hangar, fleet, sort, descending):
    rows = pages(hangar, sort=sort, descending=descending, limit=7)
    assert sorted(ids(rows)) == sorted(fleet)
    shown = {"created": "created_at", "app": "fly_app_name", "retries": "retry_count"}
    shown |= {"cost": "monthly_cost_estimate_usd", "checked": "last_health_check"}
    values = [row[shown[sort]] for row in rows]
    if sort == "cost":
        values = [Decimal(value or 0) for value in values]
    if sort == "checked":
        values = [value or "" for value in values]
    assert values == sorted(values, reverse=descending)


@pytest.mark.parametrize("sort", ["created", "app", "cost", "checked", "retries"])
@pytest.mark.parametrize("descending", [True, False])
def test_the_pages_backwards_are_the_pages_forwards(hangar, fleet, sort, descending):
    """Each page says how many apps there are and how many come before it. The one before a page is found from its first row."""
    args = {"sort": sort, "descending": descending, "limit": 7, "count": True}
    forwards = [hangar.rpc("fly_admin_fleet", **args)]
    while forwards[-1]["next"]:
        forwards.append(hangar.rpc("fly_admin_fleet", after=forwards[-1]["next"], **args))
    assert [(len(page["rows"]), page["above"], page["apps"]) for page in forwards] == [
        (7, 0, 30), (7, 7, 30), (7, 14, 30), (7, 21, 30), (2, 28, 30),
    ]  # fmt: skip
    assert forwards[0]["previous"] is None
    page, backwards = forwards[-1], [forwards[-1]]
    while page["previous"]:
        page = hangar.rpc("fly_admin_fleet", before=page["previous"], **args)
        backwards.insert(0, page)
    assert [ids(page["rows"]) for page in backwards] == [ids(page["rows"]) for page in forwards]
    assert [(page["above"], page["next"]) for page in backwards[:-1]] == [
        (page["above"], page["next"]) for page in forwards[:-1]
    ]


def test_the_count_is_of_what_the_filter_shows_and_is_made_only_on_request(hangar, fleet):
    tier = {"tier": "elite"}
    assert hangar.rpc("fly_admin_fleet", filter=tier, limit=3, count=True)["apps"] == 10
    empty = hangar.rpc("fly_admin_fleet", filter={"q": "nobody-at-all"}, count=True)
    assert (empty["rows"], empty["apps"], empty["above"], empty["next"], empty["previous"]) == ([], 0, 0, None, None)
    assert hangar.rpc("fly_admin_fleet")["apps"] is None
    choices = hangar.rpc("fly_admin_figures")
    assert {each["tier"]: each["apps"] for each in choices["tiers"]} == {"elite": 10, "free": 0, "pro": 20}
    assert [each["apps"] for each in choices["regions"]] == [30]


def test_a_page_that_ends_with_the_list_has_no_next(hangar, fleet):
    assert hangar.rpc("fly_admin_fleet", limit=30)["next"] is None
    assert hangar.rpc("fly_admin_fleet", limit=29)["next"] is not None


def test_filters_are_those_of_the_row_and_deleted_apps_are_in_no_list(hangar):
    plain, bad, stuck, due = (hangar.user("pro") for _ in range(4))
    for user in (plain, bad, stuck):
        hangar.converge(user)
    hangar.sql("update user_fly_apps set health_status = 'healthy' where user_id = %s", plain)
    hangar.sql("update user_fly_apps set health_status = 'unhealthy', machine_region = 'fra' where user_id = %s", bad)
    hangar.sql(
        "update user_fly_apps set status = 'error', error_code = 'image', next_attempt_at = null where user_id = %s",
        stuck,
    )
    gone = hangar.user("pro")
    hangar.sql("update user_fly_apps set status = 'deleted', deleted_at = now() where user_id = %s", gone)

    def found(**filter_):
        return sorted(ids(pages(hangar, filter=filter_)))

    def users(*some):
        return sorted(str(user) for user in some)

    assert found() == users(plain, bad, stuck, due)
    assert found(status="error") == users(stuck)
    assert found(status="deleted") == []
    assert found(health="healthy") == users(plain)
    assert found(health="unhealthy") == users(bad)
    assert found(health="unknown") == users(stuck, due)
    assert found(region="fra") == users(bad)
    assert found(tier="pro") == users(plain, bad, stuck, due)
    assert found(work="due") == users(due)
    assert found(work="overdue") == []
    assert found(work="stuck") == users(stuck)
    assert found(work="retrying") == []
    assert found(status="active", health="unhealthy") == users(bad)
    hangar.sql("update user_fly_apps set next_attempt_at = now() + interval '1 hour' where user_id = %s", stuck)
    assert found(work="retrying") == users(stuck)
    assert found(cause="image") == users(stuck)
    assert found(cause="size") == []
    hangar.rpc("fly_set_override", user=plain, override="grant", plan="pro", actor="t", reason=None)
    assert found(work="override") == users(plain)


def test_a_search_finds_by_any_part_or_by_id_and_takes_every_letter_as_it_is(hangar):
    mine, other = hangar.user("pro"), hangar.user("pro")
    hangar.sql("update user_profiles set email = 'Ann_100%%@Example.test' where id = %s", mine)
    hangar.sql("update user_profiles set email = 'annx100y@example.test' where id = %s", other)
    hangar.converge(mine)
    row = hangar.live_row(mine)
    hangar.sql("update user_fly_apps set machine_id = '0123456789abcd' where id = %s", row["id"])
    name = row["fly_app_name"]

    def found(query):
        fleet = ids(pages(hangar, filter={"q": query}))
        users = [user["user_id"] for user in hangar.rpc("fly_admin_search", query=query)["users"]]
        assert sorted(fleet) == sorted(users)
        return fleet

    for query in ("ann_", "ANN_100%", "ann_100%@example.test", "nn_", "0%@EX", "_", "%", str(mine), str(row["id"]), name,
                  name[:-1], name.split("-")[-1], name[4:-1], "0123456789abcd", "123456789ABC", f"  {name}  "):  # fmt: skip
        assert found(query) == [str(mine)], query
    assert sorted(found("ann")) == sorted(found("nn")) == sorted([str(mine), str(other)])
    for query in ("n_x1", "nn%100", "ann\\", "\\", "'; drop table x", "123456789abd", str(uuid.uuid4())):
        assert found(query) == [], query


def test_the_typed_address_is_found_although_very_many_contain_it(hangar):
    """A search is cut off, but never loses the whole address that was typed; it is also the first."""
    mine = hangar.user("pro")
    others = [hangar.user("pro") for _ in range(4)]
    for number, user in enumerate(others):
        hangar.sql("update user_profiles set email = %s where id = %s", f"a{number}-zed@example.test", user)
    # Last, so that it is also the last that a scan of the table reads.
    hangar.sql("update user_profiles set email = 'zed@example.test' where id = %s", mine)
    answer = hangar.rpc("fly_admin_search", query="Zed@Example.test", limit=2)
    assert (answer["users"][0]["user_id"], len(answer["users"]), answer["more"]) == (str(mine), 2, True)
    assert hangar.rpc("fly_admin_search", query="zed@")["users"][0]["email"] == "zed@example.test"


def test_the_search_has_an_index_where_pg_trgm_can_be_had(hangar):
    """Repeating the setup changes nothing. Without pg_trgm, and so without the index, the search finds the same."""

    def ask(question):
        return [tuple(row.values()) for row in hangar.admin.execute(question).fetchall()]

    [(has,)] = ask("select exists (select 1 from pg_available_extensions where name = 'pg_trgm')")
    [(said,)] = ask("select hangar.add_search_index()")
    assert said.startswith("searched with an index" if has else "searched without an index, because")
    [(schema,)] = ask("select (select extnamespace::regnamespace::text from pg_extension where extname = 'pg_trgm')")
    assert schema == ("extensions" if has else None)
    assert ask("select to_regclass('public.user_fly_apps_search') is not null") == [(has,)]
    assert ask("select 'pg_trgm' = any (enabled_extensions) from hangar.host_state") == [(has,)]
    user = hangar.user("pro")
    name = hangar.live_row(user)["fly_app_name"]
    hangar.admin.execute("drop extension if exists pg_trgm cascade")
    assert ask("select to_regclass('public.user_fly_apps_search') is null") == [(True,)]
    assert ids(hangar.rpc("fly_admin_fleet", filter={"q": name[3:-1]})["rows"]) == [str(user)]
    if has:  # the host has it in a schema of its own
        hangar.admin.execute("create extension pg_trgm schema public")
        assert ask("select hangar.add_search_index()") == [("searched with an index",)]


def test_users_without_an_app_are_found_and_gone_users_by_their_apps_name(hangar):
    free, left = hangar.user(), hangar.user("pro")
    [found] = hangar.rpc("fly_admin_search", query=str(free))["users"]
    assert (found["tier"], found["fly_app_name"], found["status"]) == ("free", None, None)
    name = hangar.live_row(left)["fly_app_name"]
    hangar.sql("update user_fly_apps set status = 'deleted', deleted_at = now() where user_id = %s", left)
    hangar.sql("delete from auth.users where id = %s", left)
    [found] = hangar.rpc("fly_admin_search", query=name)["users"]
    assert (found["user_id"], found["email"], found["fly_app_name"]) == (str(left), None, None)


def test_a_search_that_fits_too_many_says_so(hangar):
    for _ in range(3):
        hangar.user()
    answer = hangar.rpc("fly_admin_search", query="user-", limit=2)
    assert (len(answer["users"]), answer["more"]) == (2, True)
    assert hangar.rpc("fly_admin_search", query="user-", limit=3)["more"] is False
    assert hangar.rpc("fly_admin_search", query="  ")["users"] == []


def test_the_figures_add_up_to_the_fleet(hangar):
    running, waiting = hangar.user("pro"), hangar.user("pro")
    hangar.converge(running)
    groups = hangar.rpc("fly_admin_figures")["groups"]
    assert sum(group["apps"] for group in groups) == 2
    [active] = [group for group in groups if group["status"] == "active"]
    assert (active["running"], active["due"], active["monthly_cost_estimate_usd"]) == (1, 0, "6.00")
    assert Decimal(active["monthly_list_price_usd"]) == Decimal("0.000002") * 2592000
    [new] = [group for group in groups if group["status"] == "provisioning"]
    assert (new["running"], new["due"], new["overdue"]) == (0, 1, 0)
    hangar.lease(waiting)
    assert sum(group["working"] for group in hangar.rpc("fly_admin_figures")["groups"]) == 1


def test_the_frame_shows_strangers_nothing(hangar):
    user = hangar.user()
    assert hangar.rpc("fly_admin_frame", user=user).keys() == {"operator", "email"}
    assert hangar.rpc("fly_admin_frame", user=uuid.uuid4()) == {"operator": False, "email": None}
    hangar.sql("insert into hangar.operators (user_id, added_by) values (%s, 'test')", user)
    frame = hangar.rpc("fly_admin_frame", user=user)
    assert frame["operator"] is True
    assert (frame["sweep"], frame["brake"], frame["alerts"], frame["failures"]) == (None, None, [], 0)


def test_the_frame_shows_alerts_of_the_fleet_and_not_of_each_app(hangar):
    user = hangar.user()
    hangar.sql("insert into hangar.operators (user_id, added_by) values (%s, 'test')", user)
    for kind in ("provision_failed", "incident", "brake"):
        hangar.rpc("fly_raise_alert", kind=kind, key="x", message="m")
    frame = hangar.rpc("fly_admin_frame", user=user)
    assert {alert["kind"] for alert in frame["alerts"]} == {"incident", "brake"}
    assert frame["brake"]["tripped"] is False


@pytest.mark.parametrize("now", ["2026-11-08 00:30+00", "2026-04-08 12:00+00"])
def test_days_are_utcs_over_a_change_of_summer_time(hangar, now):
    """The time zone of a database may have one: no day is missing, none has another length, and none is shifted."""
    user, now = hangar.user("pro"), datetime.fromisoformat(now)
    hangar.converge(user)
    row = hangar.live_row(user)
    hangar.sql("delete from fly_cost_intervals")
    hangar.sql(
        "insert into fly_cost_intervals (fly_app_id, user_id, cpu_kind, cpu_count, memory_mb, price_usd_per_s, started_at)"
        " values (%s, %s, 'shared', 2, 512, 0.001, %s)",
        row["id"], user, now - timedelta(days=60),
    )  # fmt: skip
    hangar.shift_clock((now - datetime.now(UTC)).total_seconds())
    hangar.service.execute("set timezone = 'Europe/Berlin'")
    told = hangar.rpc("fly_admin_user", user=user)["days"]
    first = now.date() - timedelta(days=29)
    assert [day["day"] for day in told] == [str(first + timedelta(days=n)) for n in range(30)]
    assert {Decimal(day["running_seconds"]) for day in told[:-1]} == {Decimal(86_400)}
    assert hangar.rpc("fly_cost_report")["now"].endswith("+00:00")


def test_a_users_page_has_cost_by_day_that_sums_to_the_intervals(hangar):
    """Days are UTC's; an interval over midnight counts for both, an open one until now."""
    user = hangar.user("pro")
    hangar.converge(user)
    row = hangar.live_row(user)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    hangar.sql("delete from fly_cost_intervals")
    hangar.sql(
        "insert into fly_cost_intervals (fly_app_id, user_id, cpu_kind, cpu_count, memory_mb, price_usd_per_s, started_at,"
        " ended_at) values (%s, %s, 'shared', 2, 512, 0.001, %s, %s)",
        row["id"], user, midnight - timedelta(hours=30), midnight - timedelta(hours=20),
    )  # fmt: skip
    told = hangar.rpc("fly_admin_user", user=user, days=4)
    assert [Decimal(day["running_seconds"]) for day in told["days"]] == [0, 6 * 3600, 4 * 3600, 0]
    assert sum(Decimal(day["usd"]) for day in told["days"]) == Decimal(told["cost"]["to_date_usd"]) == Decimal(36)
    assert told["email"] == f"user-{user.hex[:8]}@example.test"
    assert told["plans"] == ["elite", "pro"]
    assert "events" not in told


def test_a_users_page_has_the_health_transitions(hangar, act):
    user = hangar.user("pro")
    row = hangar.converge(user)
    for became in ("unhealthy", "healthy"):
        turn = act.event("health_check_passed" if became == "healthy" else "health_check_failed", "info", to=became)
        turn["metadata"]["from"] = "healthy" if became == "unhealthy" else "unhealthy"
        hangar.sql(
            "insert into user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)"
            " values (%s, %s, %s, 'info', %s)",
            row["id"], user, turn["event_type"], json.dumps(turn["metadata"]),
        )  # fmt: skip
    assert [turn["to"] for turn in hangar.rpc("fly_admin_user", user=user)["health"]] == ["unhealthy", "healthy"]


def test_an_unknown_user_has_a_page_that_says_so(hangar):
    told = hangar.rpc("fly_admin_user", user=uuid.uuid4())
    assert (told["known"], told["row"], told["last"], told["email"]) == (False, None, None, None)


def test_the_log_is_filtered_and_paged_without_gap_or_repeat(hangar):
    user = hangar.user("pro")
    hangar.sql(
        "insert into user_fly_app_events (user_id, event_type, status, created_at)"
        " select %s, case n %% 2 when 0 then 'action' else 'error_occurred' end, case n %% 3"
        " when 0 then 'failed' else 'info' end,"
        " '2026-05-01'::timestamptz + (n / 10) * interval '1 day' from generate_series(0, 59) n",
        user,
    )

    def found(**filter_):
        filter_ |= {"user": str(user), "until": "2026-06-01"}
        rows = pages(hangar, "fly_admin_events", "events", filter=filter_, limit=7)
        assert len({row["id"] for row in rows}) == len(rows)
        keys = [(row["created_at"], int(row["seq"])) for row in rows]
        assert keys == sorted(keys, reverse=True)
        return len(rows)

    assert found() == 60
    assert found(type="action") == 30
    assert found(status="failed") == 20
    assert found(type="action", status="failed") == 10
    assert found(since="2026-05-03") == 40
    assert found(app=str(hangar.live_row(user)["id"])) == 0


@pytest.mark.parametrize(
    ("procedure", "args"),
    [
        ("fly_admin_fleet", {"limit": 501}),
        ("fly_admin_fleet", {"sort": "password"}),
        ("fly_admin_fleet", {"filter": {"colour": "red"}}),
        ("fly_admin_fleet", {"filter": {"status": "bogus"}}),
        ("fly_admin_fleet", {"filter": {"health": "Healthy"}}),
        ("fly_admin_fleet", {"filter": {"work": ""}}),
        (
            "fly_admin_fleet",
            {"after": ["2026-01-01", str(uuid.UUID(int=1))], "before": ["2026-01-01", str(uuid.UUID(int=1))]},
        ),
        ("fly_admin_search", {"query": "x", "limit": 101}),
        ("fly_admin_events", {"limit": 0}),
        ("fly_admin_events", {"filter": {"x": 1}}),
        ("fly_admin_user", {"user": uuid.uuid4(), "days": 91}),
    ],
)
def test_what_is_out_of_bounds_is_refused(hangar, procedure, args):
    with pytest.raises(errors.InvalidParameterValue):
        hangar.rpc(procedure, **args)


@pytest.mark.parametrize("text", ["'", "\\", "%s", "$1", "'; drop table user_fly_apps; --", "%L"])
def test_no_text_becomes_sql(hangar, text):
    """The procedures build their statements; every argument stays a literal."""
    user = hangar.user("pro")
    for key in ("region", "tier", "cause", "q"):
        assert hangar.rpc("fly_admin_fleet", filter={key: text}, count=True)["rows"] == []
    for key in ("status", "health", "work"):
        with pytest.raises(errors.InvalidParameterValue, match=f"{key} must be one of .*, not "):
            hangar.rpc("fly_admin_fleet", filter={key: text})
    for key in ("type", "status"):
        assert hangar.rpc("fly_admin_events", filter={key: text})["events"] == []
    hangar.rpc("fly_admin_fleet", sort="app", after=[text, str(uuid.uuid4())], count=True)
    hangar.rpc("fly_admin_fleet", sort="app", before=[text, str(uuid.uuid4())], count=True)
    hangar.rpc("fly_admin_search", query=text)
    assert hangar.row(user)


def read_plan(hangar, call):
    """The plan of the statement that a procedure builds, as auto_explain logs it."""
    hangar.admin.execute("load 'auto_explain'")
    hangar.admin.execute(
        "set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on; set client_min_messages = log"
    )
    heard = []
    hangar.admin.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    hangar.admin.execute(call)
    hangar.admin.execute("set auto_explain.log_min_duration = -1")
    return "\n".join(heard)


USUAL = {
    "fly_admin_fleet()": "user_fly_apps_newest",
    "fly_admin_fleet(p_sort => 'app', p_descending => false)": "user_fly_apps_live_name",
    """fly_admin_fleet('{"status": "error"}')""": "user_fly_apps_by_status",
    """fly_admin_fleet('{"health": "unhealthy"}')""": "user_fly_apps_not_healthy",
    "fly_admin_events()": "user_fly_app_events_created",
    """fly_admin_events('{"type": "brake_tripped"}')""": "user_fly_app_events_type",
    """fly_admin_events('{"status": "failed"}')""": "user_fly_app_events_trouble",
}


@pytest.mark.slow
def test_the_usual_questions_are_answered_from_an_index(hangar):
    """With ten thousand apps and their events the planner has every reason to choose."""
    hangar.sql("set session_replication_role = replica")
    hangar.sql(
        """insert into user_fly_apps (user_id, fly_app_name, fly_org_slug, region, docker_image, network, status, health_status,
                                      created_at)
           select gen_random_uuid(), 'vyx-user-' || lpad(to_hex(n), 8, '0'), 'x', 'sin', 'i', 'n',
                  case n %% 100 when 0 then 'error' else 'active' end, case n %% 100 when 1 then 'unhealthy' else 'healthy' end,
                  now() - n * interval '1 minute' from generate_series(1, 10000) n"""
    )
    hangar.sql(
        """insert into user_fly_app_events (event_type, status, created_at)
           select case n %% 1000 when 0 then 'brake_tripped' else 'action' end,
                  case n %% 500 when 0 then 'failed' else 'info' end,
                  now() - n * interval '1 minute' from generate_series(1, 20000) n"""
    )
    hangar.sql("set session_replication_role = origin")
    hangar.sql("analyze user_fly_apps")
    hangar.sql("analyze user_fly_app_events")
    usual = dict(USUAL)
    if hangar.admin.execute("select 1 from pg_extension where extname = 'pg_trgm'").fetchall():
        hangar.admin.execute("select gin_clean_pending_list('user_fly_apps_search')")  # as autovacuum does
        usual |= {"""fly_admin_fleet('{"q": "ser-0000270"}')""": "user_fly_apps_search"}
    for call, index in usual.items():
        plan = read_plan(hangar, f"select public.{call}")
        assert index in plan, f"{call}:\n{plan}"
        assert "Seq Scan on user_fly_app" not in plan, f"{call}:\n{plan}"
