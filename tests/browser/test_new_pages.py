"""Doctor, logs and checks, and handled alerts in a real browser: they work, and have no accessibility fault."""

import uuid

import pytest
from playwright.sync_api import expect

from tests.browser.axe import find_faults
from tests.browser.test_layout import find_overflows

MARKUP = '</td><script>window.hacked=1</script><img src=x onerror="window.hacked=1">'
CHECKS_MS = 60_000


@pytest.fixture
def alerts(cloud):
    """Three open alerts: one nobody has handled, one acknowledged, one snoozed. Their ids."""
    keys = [f"1{uuid.uuid4().hex}" for _ in range(3)]  # a banner begins a sentence with a capital letter
    for key in keys:
        cloud.sql("select public.fly_raise_alert('nudges', %s, %s)", key, f"{key} {'long words ' * 20}{MARKUP}")
    found = [cloud.sql("select id from hangar.alerts where key = %s", key)[0][0] for key in keys]
    cloud.sql("select public.fly_acknowledge_alert(%s, %s, 'mine')", found[1], "o" * 150)
    cloud.sql("select public.fly_snooze_alert(%s, now() + interval '1 hour', 'cli:ops', 'later')", found[2])
    yield found
    for key in keys:
        cloud.sql("select public.fly_resolve_alert('nudges', %s)", key)


@pytest.fixture
def logged(cloud, provisioned):
    """The user, whose app has logged what strangers log."""
    machine = cloud.row(provisioned)["machine_id"]
    lines = [MARKUP, "\x1b[31mred\x1b[0m", "y" * 100_000, *(f"GET /{number} 200" for number in range(20))]
    for level, some in (("info", lines), ("warn", ["slow"]), ("error", ["it broke"])):
        cloud.http.post(f"{cloud.sim}/machines/{machine}/logs", json={"lines": some, "level": level}).raise_for_status()
    return provisioned


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 400)])
@pytest.mark.slow
@pytest.mark.proof
def test_the_new_pages_have_no_accessibility_fault(open_context, sign_in, cloud, logged, alerts, scheme, width):
    """Doctor before and after its checks, logs and checks of an app, the list of alerts, and their forms."""
    page = sign_in(open_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page())
    expect(page.get_by_role("heading", name="Apps")).to_be_visible()
    forms = [f"actions/{name}-alert?alert={alerts[2]}" for name in ("snooze", "wake", "acknowledge")]
    for path in (f"users/{logged.id}/machine", f"users/{logged.id}", "controls", *forms, "doctor"):
        page.goto(f"{cloud.dashboard}/{path}")
        for details in page.locator("main details").all():
            details.locator("summary").first.click()
        assert find_faults(page) == [], path
        assert find_overflows(page) == [], path
        assert page.evaluate("window.hacked") is None, path
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_role("button", name="Check again")).to_be_visible(timeout=CHECKS_MS)
    assert find_faults(page) == []
    assert find_overflows(page) == []


@pytest.mark.slow
def test_without_javascript_logs_checks_and_doctor_work(open_context, sign_in, cloud, logged):
    """With links and buttons alone. Refresh reads the log again."""
    page = sign_in(open_context(java_script_enabled=False).new_page())
    page.goto(f"{cloud.dashboard}/users/{logged.id}")
    page.get_by_role("link", name="Logs and checks").click()
    log = page.get_by_role("table", name="Log lines, the oldest first")
    expect(log).to_contain_text("it broke")
    expect(page.get_by_role("table", name="Checks of the machine")).to_contain_text("passing")
    machine = cloud.row(logged)["machine_id"]
    cloud.http.post(f"{cloud.sim}/machines/{machine}/logs", json={"lines": ["a new line"]}).raise_for_status()
    page.get_by_label("Newest").select_option("20")
    page.get_by_role("button", name="Refresh").click()
    expect(log).to_contain_text("a new line")
    assert log.locator("tbody tr").count() == 20
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Doctor").click()
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_role("table", name="Checks, the wrong ones first")).to_be_visible(timeout=CHECKS_MS)


@pytest.mark.slow
def test_an_alert_is_snoozed_and_woken(operator_page, cloud, alerts):
    """Its notice leaves the pages at once, and comes back."""
    page = operator_page
    [(key,)] = cloud.sql("select key from hangar.alerts where id = %s", alerts[0])
    page.goto(f"{cloud.dashboard}/controls")
    banners = page.get_by_role("region", name="Notices")
    expect(banners).to_contain_text(key)
    row = page.get_by_role("table", name="Open alerts").get_by_role("row").filter(has_text=key)
    row.get_by_role("link", name="Snooze").click()
    page.get_by_label("For").select_option("1d")
    page.get_by_role("main").get_by_role("button", name="Snooze").click()
    expect(page.locator("main > .notice")).to_contain_text("is snoozed until")
    expect(banners).not_to_contain_text(key)
    expect(banners).to_contain_text("2 alerts are snoozed")
    page.get_by_text("Snoozed (2)").click()
    row = page.get_by_role("table", name="Snoozed alerts").get_by_role("row").filter(has_text=key)
    row.get_by_role("link", name="Wake").click()
    page.get_by_role("main").get_by_role("button", name="Wake").click()
    expect(banners).to_contain_text(key)
