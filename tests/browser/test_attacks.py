"""Markup in data stays text: in e-mails, names, errors and metadata, on every page that shows them."""

import pytest
from playwright.sync_api import expect

SCRIPT = "<script>window.hacked=1</script>"
IMAGE = '"><img src=x onerror="window.hacked=1">'


@pytest.fixture
def hostile(cloud):
    """A user whose data contains markup everywhere, with an app that failed.

    Hangar is paused meanwhile, and nobody works on the app: a worker would find the app well and write that over the failure.
    """
    person = cloud.add_user("pro", email=f"{SCRIPT}{IMAGE}@example.test")
    cloud.wait_until("the app is active", lambda: cloud.row(person).get("status") == "active")
    row = cloud.row(person)["id"]
    cloud.sql("update hangar.settings set paused = true")
    leased = "select 1 from public.user_fly_apps where id = %s and lease_expires_at > hangar.now()"
    cloud.wait_until("no worker has the app", lambda: not cloud.sql(leased, row))
    cloud.sql(
        "update public.user_fly_apps set status = 'error', error_code = %s, error_message = %s, docker_image = %s,"
        # A sweep that comes meanwhile makes the app due because of the override, so the test holds the lease.
        " next_attempt_at = null, lease_token = gen_random_uuid(), lease_expires_at = now() + interval '1 hour' where id = %s",
        f"code {IMAGE}",
        f"message {SCRIPT}{IMAGE}",
        f"image {IMAGE}",
        row,
    )
    cloud.sql(
        "insert into public.user_fly_app_events (id, user_id, fly_app_id, event_type, status, error_details, metadata) values"
        " (gen_random_uuid(), %s, %s, 'error_occurred', 'failed', %s, jsonb_build_object('note', %s::text, %s::text, 'key'))",
        person.id,
        row,
        f"details {SCRIPT}{IMAGE}",
        f"note {SCRIPT}{IMAGE}",
        IMAGE,
    )
    cloud.sql(
        "insert into public.fly_overrides (user_id, override, plan, actor, reason) values (%s, 'grant', 'pro', %s, %s)",
        person.id,
        f"actor {IMAGE}",
        f"reason {SCRIPT}",
    )
    yield person
    cloud.sql("update public.user_fly_apps set lease_token = null, lease_expires_at = null where id = %s", row)
    cloud.sql("update hangar.settings set paused = false")
    cloud.sql("delete from public.fly_overrides where user_id = %s", person.id)
    cloud.sql("update public.user_subscriptions set tier = 'free' where user_id = %s", person.id)


PATHS = (
    "",
    "users/{id}",
    "events?user={id}",
    "failures",
    "costs",
    "search?q=%3Cscript%3E",
    "actions/provision?user={id}",
)


@pytest.mark.slow
def test_markup_in_the_data_is_shown_and_not_run(operator_page, cloud, hostile):
    """No page runs the markup or sends a request for it, and a person can still read it as text."""
    requested = []
    operator_page.on("request", lambda request: requested.append(request.url))
    for path in PATHS:
        operator_page.goto(f"{cloud.dashboard}/{path.format(id=hostile.id)}")
        operator_page.wait_for_load_state("networkidle")
        for detail in operator_page.locator("details").all():
            detail.evaluate("each => { each.open = true; }")
        assert operator_page.evaluate("window.hacked") is None, path
        assert operator_page.locator("img[src=x]").count() == 0, path
        expect(operator_page.get_by_role("main")).to_contain_text("<script>window.hacked=1</script>")
    assert not [url for url in requested if not url.startswith(cloud.dashboard)]


@pytest.mark.slow
def test_a_forged_form_does_nothing(operator_page, cloud, console_errors):
    """A forged form is refused even if it comes with the cookie. So is a form from another site."""
    console_errors.expect("403")
    forged = operator_page.request.post(
        f"{cloud.dashboard}/actions/pause", form={"reason": "forged", "proof": "x" * 40}
    )
    assert forged.status == 403
    elsewhere = operator_page.request.post(
        f"{cloud.dashboard}/actions/pause", form={"reason": "x"}, headers={"Origin": "https://example.com"}
    )
    assert elsewhere.status == 403
    assert cloud.sql("select paused from hangar.settings") == [(False,)]
