"""An operator provisions and deprovisions by hand. Each step is checked on Fly and in the database."""

import pytest
from playwright.sync_api import expect


@pytest.mark.slow
def test_provision_watch_restart_and_deprovision_by_hand(operator_page, cloud, user_page, console_errors):
    """Find a free user, provision an app, see it become active without a reload, restart it, remove it by typing its name."""
    console_errors.expect("400")  # the name is mistyped on purpose
    person = cloud.add_user()
    operator_page.get_by_role("searchbox", name="Find a user").fill(person.email)
    operator_page.keyboard.press("Enter")
    expect(operator_page).to_have_url(user_page(person))
    expect(operator_page.get_by_text("This user has never had an app.")).to_be_visible()

    operator_page.get_by_role("link", name="Provision", exact=True).click()
    operator_page.get_by_label("Plan").select_option("pro")
    operator_page.get_by_label("Reason").fill("a gift for a good report")
    operator_page.get_by_role("button", name="Provision").click()
    expect(operator_page).to_have_url(user_page(person))
    state = operator_page.get_by_role("region", name="Current state")
    expect(state.get_by_text("active", exact=True)).to_be_visible()
    expect(state.get_by_text("An app is granted")).to_contain_text("a gift for a good report")
    name = cloud.row(person)["fly_app_name"]
    machine_id = cloud.row(person)["machine_id"]
    assert cloud.apps()[name] == {machine_id: "started"}
    assert cloud.actors(person, "override_set") == [cloud.addresses["admin"]["email"]]
    timeline = operator_page.get_by_role("table", name="Events, newest first")
    expect(timeline.get_by_text("provision completed")).to_be_visible()

    operator_page.get_by_role("link", name="Restart").click()
    operator_page.get_by_role("button", name="Restart").click()
    expect(operator_page.get_by_role("status").first).to_contain_text("restart", ignore_case=True)
    assert cloud.apps()[name] == {machine_id: "started"}
    restarts = cloud.sql(
        "select status, metadata ->> 'actor' from public.user_fly_app_events where user_id = %s and metadata ->> 'action' ="
        " 'restart_machine' order by created_at",
        person.id,
    )
    assert [status for status, _ in restarts] == ["intent", "succeeded"]

    operator_page.get_by_role("link", name="Deprovision", exact=True).click()
    operator_page.get_by_label("Reason").fill("the gift is over")
    operator_page.get_by_label(f"Type {name} to confirm").fill("not-its-name")
    operator_page.get_by_role("button", name="Deprovision").click()
    expect(operator_page.get_by_role("alert").filter(has_text="type the app's name exactly")).to_be_visible()
    assert name in cloud.apps()
    operator_page.get_by_label(f"Type {name} to confirm").fill(name)
    operator_page.get_by_role("button", name="Deprovision").click()
    expect(state.get_by_text("deleted", exact=True)).to_be_visible()
    assert name not in cloud.apps()
    assert cloud.row(person)["status"] == "deleted"


@pytest.mark.slow
def test_an_app_becomes_active_without_a_reload(operator_page, cloud, user_page):
    """The user's page shows the app that a subscription brings, and its removal, without a reload."""
    person = cloud.add_user()
    operator_page.goto(user_page(person))
    operator_page.evaluate("window.stays = true")
    state = operator_page.get_by_role("region", name="Current state")
    expect(state.get_by_text("no app", exact=True)).to_be_visible()
    cloud.sql("update public.user_subscriptions set tier = 'pro' where user_id = %s", person.id)
    expect(state.get_by_text("active", exact=True)).to_be_visible()
    cloud.sql("update public.user_subscriptions set tier = 'free' where user_id = %s", person.id)
    expect(state.get_by_text("deleted", exact=True)).to_be_visible()
    assert operator_page.evaluate("window.stays") is True
    assert cloud.row(person)["fly_app_name"] not in cloud.apps()


@pytest.mark.slow
def test_a_failure_of_fly_is_shown_within_one_refresh(operator_page, cloud, user_page):
    """A refusal of Fly is shown on the user's page, in the list and among the failures, with advice. A retry repairs the app."""
    cloud.fault(
        {
            "method": "POST",
            "path": "/v1/apps/*/machines",
            "status": 422,
            "body": {"error": "manifest unknown: image not found"},
        }
    )
    person = cloud.add_user("pro")
    operator_page.goto(user_page(person))
    state = operator_page.get_by_role("region", name="Current state")
    expect(state.get_by_text("error", exact=True)).to_be_visible()
    expect(state).to_contain_text("image")
    operator_page.get_by_role("link", name="Failures").click()
    failure = operator_page.locator("li.card").filter(has_text=person.email)
    expect(failure).to_contain_text("push the image")
    operator_page.get_by_role("link", name="Fleet", exact=True).first.click()
    operator_page.get_by_role("link", name="error", exact=False).first.click()
    expect(operator_page.get_by_role("row").filter(has_text=person.email)).to_contain_text("image")

    cloud.fault()
    operator_page.goto(user_page(person))
    operator_page.get_by_role("link", name="Retry now").click()
    operator_page.get_by_role("button", name="Retry now").click()
    expect(state.get_by_text("active", exact=True)).to_be_visible()
