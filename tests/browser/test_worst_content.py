"""The list of apps with the longest content that each column can have, at every kind of width: nothing pushes the page wider."""

import json
import uuid

import psycopg
import pytest

from tests.browser.test_layout import find_overflows

# Around the width at which the list becomes cards, and from there to the widest window.
WIDTHS = (360, 400, 641, 800, 1024, 1199, 1200, 1201, 1240, 1280, 1300, 1360, 1440, 1600, 1920)
_MACHINE = "e784e6d4b96298"


@pytest.fixture
def worst(cloud):
    """An app in every state, with long words without a break in every text. Returns the mark that the search finds."""
    mark = f"w{uuid.uuid4().hex[:6]}"
    cloud.sql("update hangar.settings set paused = true")
    people = [
        # status, health, region, tier, cost, retries, machine
        ("error", "unhealthy", "sin", "enterprise-plus-with-a-very-long-name", "1234567.89", 123456, "performance"),
        ("deprovisioning", "unknown", "nrt", "x" * 60, "0.001", 9, "shared"),
        ("provisioning", "unknown", "gru", "pro", "100000.00", 0, "performance"),
        ("active", "healthy", "sin,nrt,hkg,syd,fra,lhr,iad", "elite", "6.00", 10**6, "shared"),
        ("active", "unhealthy", "syd", "pro", "99999.99", 77, "performance"),
    ]
    users = []
    # Without triggers, so that no sync gives a row what its plan says before the page is read.
    with psycopg.connect(cloud.addresses["database_url"], autocommit=True) as database:
        database.execute("set session_replication_role = replica")
        for number, (status, health, region, tier, cost, retries, cpu_kind) in enumerate(people):
            user = uuid.uuid4()
            users.append(user)
            database.execute(
                "insert into auth.users (id, email) values (%s, %s)", (user, f"{'x' * 180}{mark}{number}@example.test")
            )
            database.execute(
                "insert into public.user_fly_apps (user_id, fly_app_name, fly_org_slug, network, status, health_status, region,"
                " docker_image, tier, machine_id, machine_state, monthly_cost_estimate_usd, next_attempt_at, error_code,"
                " error_message, created_at, retry_count, cpu_kind, cpu_count, memory_mb, last_health_check, drift, drift_since,"
                " lease_holder, lease_expires_at, lease_token)"
                " values (%s, %s, 'x', %s, %s, %s, %s, %s, %s, %s, 'started', %s, null, %s, %s, now() - interval '1000 days', %s,"
                " %s, 16, 131072, now() - interval '999 days', %s, now(), %s, %s, %s)",
                (user, f"vyx-user-{mark}-{'a' * 12}-{number}", f"n-{user}", status, health, region,
                 f"registry.example.test/team/{'backend' * 12}:v{'1.2.3-' * 12}", tier, None if number == 2 else _MACHINE, cost,
                 "organisation_refuses_everything" if status == "error" else None, "word" * 100, retries, cpu_kind,
                 json.dumps(dict.fromkeys(("environment", "image", "metadata", "region", "secrets", "size"), "y" * 80)),
                 *(("w" * 60, "2099-01-01", uuid.uuid4()) if number == 3 else (None, None, None))),
            )  # fmt: skip
            database.execute(
                "insert into public.fly_overrides (user_id, override, plan, actor) values (%s, 'grant', 'pro', 'test')",
                (user,),
            )
            if health == "unhealthy":
                database.execute(
                    "insert into hangar.app_health (fly_app_id, symptom, detail, since, samples)"
                    " select id, 'check_critical', %s, now(), 3 from public.user_fly_apps where user_id = %s",
                    ("q" * 200, user),
                )
            cloud.sql(
                "insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, error_details, metadata)"
                " select id, user_id, 'error_occurred', 'failed', %s, jsonb_build_object('actor', %s::text, 'error_code', 'x',"
                " 'max_retries_exceeded', true, 'retry_count', 10, 'generation', 3) from public.user_fly_apps where user_id = %s",
                "e" * 200,
                "a" * 60,
                user,
            )
            cloud.sql(
                "select public.fly_raise_alert('crash_loop', %s, %s)",
                str(user),
                f"{'z' * 150} {user} {'long words ' * 30}",
            )
    yield mark, users
    cloud.sql("delete from hangar.app_health where detail = %s", "q" * 200)
    for user in users:
        cloud.sql("select public.fly_resolve_alert('crash_loop', %s)", str(user))
        cloud.sql("delete from public.fly_overrides where user_id = %s", user)
        cloud.sql("update public.user_fly_apps set status = 'deleted', deleted_at = now() where user_id = %s", user)
    cloud.sql("update hangar.settings set paused = false")


@pytest.mark.slow
def test_the_list_of_apps_fits_every_window(operator_page, cloud, worst):
    """With the longest content in every column, and an app in every state."""
    operator_page.goto(f"{cloud.dashboard}/?q={worst[0]}")
    table = operator_page.locator("table.apps")
    assert table.locator("tbody tr").count() == 5
    # The rows still have what the test has put into them.
    for text in ("deprovisioning", "sin,nrt,hkg", "organisation refuses everything", "$1,234,567.89", "1000000", "qqqq", "x" * 60,
                 "drift: ", "environment", "in progress", "granted by", "no machine yet", "performance"):  # fmt: skip
        assert text in table.inner_text(), text
    found = {}
    for width in WIDTHS:
        operator_page.set_viewport_size({"width": width, "height": 900})
        if overflows := find_overflows(operator_page):
            found[width] = overflows
    assert found == {}


@pytest.mark.parametrize(
    "path",
    [
        "failures",
        "controls",
        "events",
        "doctor",
        "users/{user}",
        "users/{user}/machine",
        "actions/deprovision?user={user}",
    ],
)
@pytest.mark.slow
def test_the_other_pages_fit_every_window(operator_page, cloud, worst, path):
    for user in worst[1][:1] if "{user}" not in path else worst[1]:
        operator_page.goto(f"{cloud.dashboard}/{path.format(user=user)}")
        found = {}
        for width in WIDTHS:
            operator_page.set_viewport_size({"width": width, "height": 900})
            if overflows := find_overflows(operator_page):
                found[width] = overflows
        assert found == {}
