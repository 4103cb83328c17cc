"""A release in a real browser: planned, started and paused by an operator; what the apps on Fly run meanwhile."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.axe import find_faults
from tests.browser.test_layout import find_overflows

MARKUP = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


@pytest.fixture
def new_image(cloud, provisioned):
    """Another version of the image that the user's app runs. Nothing holds a release, and none is left behind."""
    cloud.clear_holds()
    name = re.sub(r"(:[\w.-]+)?(@.*)?$", "", cloud.row(provisioned)["docker_image"])
    yield f"{name}:v2-browser"
    cloud.sql("update hangar.user_specs set release_id = null")
    cloud.sql("delete from hangar.releases")
    cloud.sql("delete from hangar.user_specs")


def press(page, button, reason):
    page.get_by_role("group", name="Actions").get_by_role("link", name=button, exact=True).click()
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("main").get_by_role("button", name=button, exact=True).click()


def count_images(cloud, image):
    """How many machines on Fly are configured to run this image."""
    world = cloud.http.get(f"{cloud.sim}/world").raise_for_status().json()
    machines = [machine for app in world["apps"] for machine in app["machines"]]
    return sum(machine["config"]["image"].startswith(image) for machine in machines)


@pytest.mark.slow
def test_a_release_is_planned_started_and_paused(operator_page, cloud, provisioned, new_image):
    """The plan moves nothing. After the start only the canary runs the new image, and after the pause nothing more does."""
    page = operator_page
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Releases").click()
    page.get_by_role("link", name="Plan a release").click()
    page.get_by_role("textbox", name=re.compile("^Image")).fill(new_image)
    page.get_by_label("Reason").fill("a new version")
    page.get_by_role("button", name="Create draft").click()
    expect(page.get_by_role("heading", name="Plan")).to_be_visible()
    state = page.get_by_role("region", name="Current state")
    expect(state).to_contain_text("draft")
    expect(state).to_contain_text("Nothing moves until an operator starts it")
    assert count_images(cloud, new_image) == 0

    press(page, "Start", "it was tried on staging")
    expect(state).to_contain_text("rolling")
    release = page.url
    page.goto(f"{cloud.dashboard}/actions/sweep")
    page.get_by_role("main").get_by_role("button", name="Sweep now").click()
    expect(page.locator("main > .notice")).to_be_visible()
    cloud.drain()  # the sweep may have been under way already
    cloud.wait_until(
        "the canary has the new image",
        lambda: count_images(cloud, new_image) == 1,
        within_s=100,
        explain=cloud.explain_release,
    )
    page.goto(release)
    canary = page.get_by_role("img", name=re.compile("^canary, 1 app: 1 (moving|done)$"))
    expect(canary).to_be_visible()
    assert canary.bounding_box()["width"] > 300

    press(page, "Pause", "look at the logs first")
    expect(state).to_contain_text("paused")
    expect(state).to_contain_text("Look at the logs first.")
    page.goto(f"{cloud.dashboard}/actions/sweep")
    page.get_by_role("main").get_by_role("button", name="Sweep now").click()
    expect(page.locator("main > .notice")).to_be_visible()
    assert count_images(cloud, new_image) == 1
    actor = cloud.addresses["admin"]["email"]
    assert cloud.sql(
        "select metadata ->> 'what', metadata ->> 'actor', error_details from public.user_fly_app_events"
        " where event_type = 'release_changed' order by seq desc limit 3"
    ) == [
        ("pause", actor, "look at the logs first"),
        ("start", actor, "it was tried on staging"),
        ("created", actor, "a new version"),
    ]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 400)])
@pytest.mark.slow
def test_the_page_of_a_release_has_no_accessibility_fault_and_runs_no_markup(
    open_context, sign_in, cloud, provisioned, new_image, scheme, width
):
    """Every part of the bars, in both styles. No page scrolls sideways. The pattern of each part is another one."""
    cloud.sql(
        "insert into hangar.releases (image, state, created_by, why, reason) values (%s, 'paused', %s, %s, %s)",
        *[MARKUP] * 4,
    )
    [(release,)] = cloud.sql("select max(id) from hangar.releases")
    # The drains of the cloud skip an app that moves and is gone, so the one that moves is a live one.
    [(row, user)] = cloud.sql("select id, user_id from public.user_fly_apps where user_id = %s", provisioned.id)
    states = ("done", "verifying", "pending", "failed", "reverted", "skipped")
    for place, target in enumerate(states, 1):
        app = row if target == "verifying" else cloud.sql(
            "insert into public.user_fly_apps (user_id, fly_app_name, fly_org_slug, network, status, region, docker_image, tier,"
            " deleted_at) values (gen_random_uuid(), %s, 'x', 'n', 'deleted', 'sin', %s, 'pro', now()) returning id",
            f"vyx-gone-{release}-{place}", MARKUP,
        )[0][0]  # fmt: skip
        cloud.sql(
            "insert into hangar.release_targets (release_id, row_id, user_id, wave, place, state, reason_code, reason)"
            " values (%s, %s, %s, 0, %s, %s, %s, %s)", release, app, user, place, target, MARKUP, MARKUP,
        )  # fmt: skip
    page = sign_in(open_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page())
    expect(page.get_by_role("heading", name="Apps")).to_be_visible()
    for path in (f"releases/{release}", "releases", f"actions/abort-release?release={release}"):
        page.goto(f"{cloud.dashboard}/{path}")
        expect(page.get_by_role("main")).to_contain_text("<script>window.hacked=1</script>")
        assert page.evaluate("window.hacked") is None, path
        assert page.locator("img[src=x]").count() == 0, path
        assert find_faults(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
    page.goto(f"{cloud.dashboard}/releases/{release}")
    fills = page.locator(".wave-bar rect").evaluate_all("all => all.map((each) => each.getAttribute('fill'))")
    assert len(set(fills)) == len(states)
    drawn = page.evaluate("all => all.map((id) => document.querySelector(id.slice(4, -1)).innerHTML)", fills)
    assert len(set(drawn)) >= len(states) - 1  # done and pending are both plain: one is filled, the other is empty


@pytest.mark.parametrize("width", [400, 1440])
@pytest.mark.slow
def test_the_form_with_a_move_fits_its_window_and_names_a_wrong_region(
    open_context, sign_in, cloud, console_errors, width
):
    """The refusal stands above the form, which keeps what was typed."""
    console_errors.expect("status of 400")
    page = sign_in(open_context(viewport={"width": width, "height": 1000}).new_page())
    page.goto(f"{cloud.dashboard}/actions/create-release")
    assert (find_faults(page), find_overflows(page)) == ([], [])
    page.get_by_label("Move to regions").fill("nrt, moon")
    page.get_by_label("Reason").fill("closer to the users")
    page.get_by_role("button", name="Create draft").click()
    expect(page.get_by_text("region 'moon' does not exist on Fly")).to_be_visible()
    expect(page.get_by_label("Move to regions")).to_have_value("nrt, moon")
    assert (find_faults(page), find_overflows(page)) == ([], [])
