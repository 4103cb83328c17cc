"""Accessibility: no fault that axe-core knows, light and dark, wide and narrow; usable by keyboard alone and at 400 px."""

import pytest
from playwright.sync_api import expect

from tests.browser.axe import find_faults
from tests.support.sizes import size

PATHS = (
    "",
    "?status=error",
    "users/{id}",
    "events",
    "failures",
    "costs",
    "releases",
    "actions/create-release",
    "controls",
    "search?q=user",
    "search?q=nobody-has-this",
    "actions/deprovision?user={id}",
    "actions/pause",
    "no-such-page",
)


@pytest.mark.sized
@pytest.mark.parametrize(("scheme", "width", "turn"), [("light", 1280, 0), ("dark", 400, 1)])
@pytest.mark.slow
def test_no_page_has_an_accessibility_fault(
    open_context, sign_in, cloud, console_errors, provisioned, scheme, width, turn
):
    """Every page including the sign-in. No page scrolls sideways at any width.

    `make test` runs axe-core once on each page, in one of the two styles by turns. `make proof` runs it in both.
    """
    by_turns = size("AXE_RUNS_PER_PAGE") == 1
    console_errors.expect("404")
    page = open_context(color_scheme=scheme, viewport={"width": width, "height": 800}).new_page()
    page.goto(cloud.dashboard)
    faults = [f"sign-in {fault}" for fault in find_faults(page)]
    sign_in(page)
    expect(page.get_by_role("heading", name="Apps")).to_be_visible()
    for number, path in enumerate(PATHS):
        page.goto(f"{cloud.dashboard}/{path.format(id=provisioned.id)}")
        if not by_turns or number % 2 == turn:
            faults += [f"{path or 'fleet'} {fault}" for fault in find_faults(page)]
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        faults += [f"{path or 'fleet'} is {wide} px too wide"] if wide > 0 else []
    assert not faults, "\n".join(faults)


@pytest.mark.slow
def test_by_keyboard_alone(page, cloud, provisioned):
    """Sign in, skip to the content, find a user, check the app: no mouse."""
    page.goto(cloud.dashboard)
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.keyboard.type(cloud.addresses["admin"]["email"])
    page.keyboard.press("Tab")
    page.keyboard.type(cloud.addresses["admin"]["password"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Apps")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("searchbox", name="Find a user").focus()
    page.keyboard.type(provisioned.email)
    page.keyboard.press("Enter")
    link = page.get_by_role("link", name="Check now")
    expect(link).to_be_visible()
    for _ in range(40):
        if link.evaluate("each => each === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(link).to_be_focused()
    outline = link.evaluate("each => getComputedStyle(each).outlineStyle + getComputedStyle(each).outlineWidth")
    assert not outline.startswith("none")
    assert not outline.endswith("0px")
    page.keyboard.press("Enter")
    button = page.get_by_role("main").get_by_role("button", name="Check now")
    expect(button).to_be_visible()
    for _ in range(40):
        if button.evaluate("each => each === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("main > .notice")).to_be_visible()
