"""The live refresh shows what changed and does not disturb the user."""

import pytest
from playwright.sync_api import expect


@pytest.mark.slow
def test_focus_scroll_and_typing_stay(operator_page, cloud, user_page, provisioned):
    """When rows are added, the focused element, an opened detail, a half-typed search and the scroll position stay."""
    operator_page.set_viewport_size({"width": 900, "height": 400})
    operator_page.goto(user_page(provisioned))
    summary = operator_page.get_by_role("table", name="Events, newest first").locator("summary").last
    summary.scroll_into_view_if_needed()
    summary.click()
    operator_page.get_by_role("searchbox", name="Find a user").fill("half a na", force=True)
    summary.focus()
    before = operator_page.evaluate(
        "[scrollY, document.activeElement.tagName, document.querySelectorAll('details[open]').length]"
    )
    rows = operator_page.locator("tbody tr").count()
    cloud.sql(
        "insert into public.user_fly_app_events (id, user_id, event_type, status, metadata)"
        " values (gen_random_uuid(), %s, 'error_occurred', 'info', '{\"note\": \"from the test\"}')",
        provisioned.id,
    )
    expect(operator_page.get_by_text("from the test").first).to_be_attached()
    assert operator_page.locator("tbody tr").count() > rows
    after = operator_page.evaluate(
        "[scrollY, document.activeElement.tagName, document.querySelectorAll('details[open]').length]"
    )
    assert after[1:] == before[1:]
    assert abs(after[0] - before[0]) < 120  # a line was added above; the browser keeps the visible part in place
    expect(operator_page.get_by_role("searchbox", name="Find a user")).to_have_value("half a na")


@pytest.mark.slow
def test_an_unchanged_page_is_not_sent_again(operator_page, cloud, user_page, provisioned):
    """The response is 304 without a body."""
    operator_page.goto(user_page(provisioned))
    with operator_page.expect_response(lambda answer: answer.status == 304) as answered:
        pass
    assert answered.value.request.headers["x-hangar-live"] == "1"


@pytest.mark.slow
def test_without_javascript_everything_works(open_context, sign_in, cloud):
    """Sign in, filter, open a user, check: with forms and links alone."""
    person = cloud.add_user("pro")
    cloud.wait_until("the app is active", lambda: cloud.row(person).get("status") == "active")
    page = sign_in(open_context(java_script_enabled=False).new_page())
    page.get_by_label("Search").fill(person.email)
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name=person.email).click()
    expect(page.get_by_role("region", name="Current state").get_by_text("active", exact=True)).to_be_visible()
    page.get_by_role("link", name="Check now").click()
    page.get_by_role("button", name="Check now").click()
    expect(page.locator("main > .notice")).to_be_visible()


@pytest.mark.parametrize("width", [1024, 1100, 1240, 400])
@pytest.mark.slow
def test_no_page_is_wider_than_its_window(operator_page, cloud, user_page, width):
    """The list has content in every column, and an e-mail address too long to break."""
    person = cloud.add_user("pro", email=f"{'x' * 200}{width}@example.test")
    cloud.wait_until("the app is active", lambda: cloud.row(person).get("status") == "active")
    operator_page.set_viewport_size({"width": width, "height": 800})
    for address in (cloud.dashboard, user_page(person), f"{cloud.dashboard}/actions/deprovision?user={person.id}"):
        operator_page.goto(address)
        assert operator_page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address


@pytest.mark.slow
def test_a_notice_disappears_once_the_state_has_changed(operator_page, cloud, user_page, provisioned):
    """The notice described the previous state."""
    operator_page.goto(f"{cloud.dashboard}/actions/check?user={provisioned.id}")
    operator_page.get_by_role("main").get_by_role("button", name="Check now").click()
    expect(operator_page.locator("main > .notice")).to_be_visible()
    cloud.sql("update public.user_subscriptions set tier = 'free' where user_id = %s", provisioned.id)
    expect(operator_page.get_by_role("region", name="Current state").get_by_text("deleted", exact=True)).to_be_visible()
    expect(operator_page.locator("main > .notice")).to_have_count(0)
