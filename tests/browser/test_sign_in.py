"""Who can sign in, who cannot, and what happens when a session ends during an action."""

import pytest
from playwright.sync_api import expect


@pytest.mark.slow
def test_a_wrong_password_says_so_and_keeps_the_address(page, sign_in, cloud, console_errors):
    """A wrong e-mail and a wrong password give the same message."""
    console_errors.expect("400")
    sign_in(page, password="not this")
    expect(page.get_by_role("alert").filter(has_text="The e-mail or the password is wrong.")).to_be_visible()
    expect(page.get_by_label("E-mail")).to_have_value(cloud.addresses["admin"]["email"])
    assert not [each for each in page.context.cookies() if each["name"] == "__Host-hangar"]


@pytest.mark.slow
def test_the_session_is_kept_from_scripts_and_other_sites(operator_page):
    """One cookie: HttpOnly, Secure, SameSite=Strict; no token in storage or page."""
    cookie = next(each for each in operator_page.context.cookies() if each["name"] == "__Host-hangar")
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (True, True, "Strict", "/")
    assert len(cookie["value"]) < 4000
    assert "eyJ" not in cookie["value"]
    assert operator_page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
    assert "eyJ" not in operator_page.content()


@pytest.mark.slow
def test_a_user_who_is_not_an_operator_sees_nothing(page, sign_in, cloud, console_errors):
    """A Supabase account is not enough, and the host's own is_admin is ignored: no page, no list, no action."""
    console_errors.expect("403")
    person = cloud.add_user(password="a long enough one")
    cloud.sql("update public.user_profiles set is_admin = true where id = %s", person.id)
    sign_in(page, person.email, "a long enough one")
    expect(page.get_by_role("heading", name="You are signed in, but not an operator")).to_be_visible()
    for path in ("", "fleet.csv", "search?q=user", f"users/{person.id}", "events", "costs", "failures", "controls"):
        answer = page.request.get(f"{cloud.dashboard}/{path}")
        assert answer.status == 403, path
        assert "vyx-user" not in answer.text()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()


@pytest.mark.slow
def test_a_removed_operator_loses_access_at_once(operator_page, open_context, sign_in, cloud, console_errors):
    """The first click after the removal changes nothing."""
    console_errors.expect("403")
    person = cloud.add_user(password="a long enough one")
    cloud.sql("insert into hangar.operators (user_id, added_by) values (%s, 'test')", person.id)
    other = sign_in(open_context().new_page(), person.email, "a long enough one")
    expect(other.get_by_role("heading", name="Apps")).to_be_visible()
    other.goto(f"{cloud.dashboard}/actions/pause")
    other.get_by_label("Reason").fill("not mine to do any more")
    cloud.sql("delete from hangar.operators where user_id = %s", person.id)
    other.get_by_role("button", name="Pause Hangar").click()
    expect(other.get_by_role("heading", name="You are signed in, but not an operator")).to_be_visible()
    assert cloud.sql("select paused from hangar.settings") == [(False,)]


@pytest.mark.slow
def test_a_session_that_ends_in_the_middle_of_an_action_does_nothing(operator_page, cloud, console_errors):
    """After a sign-out in another tab, sending the form shows the sign-in form and a message that nothing was done."""
    console_errors.expect("401")
    operator_page.goto(f"{cloud.dashboard}/actions/pause")
    operator_page.get_by_label("Reason").fill("too late")
    other = operator_page.context.new_page()
    other.goto(cloud.dashboard)
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_label("Password")).to_be_visible()
    operator_page.get_by_role("button", name="Pause Hangar").click()
    expect(operator_page.get_by_role("alert").filter(has_text="nothing was done")).to_be_visible()
    assert cloud.sql("select paused from hangar.settings") == [(False,)]


@pytest.mark.slow
def test_an_open_page_says_that_its_session_has_ended(operator_page, cloud, console_errors):
    """The live refresh of a signed-out page shows a message, and not the sign-in form inside the page."""
    console_errors.expect("401")
    other = operator_page.context.new_page()
    other.goto(cloud.dashboard)
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_label("Password")).to_be_visible()
    expect(operator_page.get_by_role("alert").filter(has_text="Your session has ended")).to_be_visible()


@pytest.mark.slow
def test_a_link_leads_to_its_page_after_the_sign_in(page, cloud):
    """A page that was requested without a session is shown after the sign-in."""
    page.goto(f"{cloud.dashboard}/costs?users=25")
    page.get_by_label("E-mail").fill(cloud.addresses["admin"]["email"])
    page.get_by_label("Password").fill(cloud.addresses["admin"]["password"])
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page).to_have_url(f"{cloud.dashboard}/costs?users=25")


@pytest.mark.parametrize(
    "elsewhere", ["https://example.com/", "//example.com", "/\\example.com", "javascript:alert(1)"]
)
@pytest.mark.slow
def test_signing_in_never_leads_elsewhere(page, cloud, elsewhere):
    """A `next` that is not a page of the dashboard is ignored."""
    page.goto(f"{cloud.dashboard}/sign-in?next={elsewhere}")
    page.get_by_label("E-mail").fill(cloud.addresses["admin"]["email"])
    page.get_by_label("Password").fill(cloud.addresses["admin"]["password"])
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Apps")).to_be_visible()
    assert page.url.startswith(cloud.dashboard)


@pytest.mark.slow
def test_signing_in_by_a_provider(page, cloud, console_errors):
    """OAuth with PKCE: to the provider, back with a code, signed in. The strict cookie survives the way back."""
    console_errors.expect("404")  # the local provider has no icon
    page.goto(cloud.dashboard)
    page.get_by_role("link", name="Sign in with").first.click()
    page.get_by_label("E-mail").fill(cloud.addresses["admin"]["email"])
    page.get_by_role("button").first.click()
    expect(page.get_by_role("heading", name="Apps")).to_be_visible()
    assert page.url.rstrip("/") == cloud.dashboard.rstrip("/")
