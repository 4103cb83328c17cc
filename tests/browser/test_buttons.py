"""Every other button does what it says, on Fly and in the database, under the operator's name. Pressing it twice is harmless."""

import pytest
from playwright.sync_api import expect


@pytest.fixture
def press(operator_page, cloud):
    """Confirm an action and wait for its notice."""

    def go(name: str, button: str, *, query: str = "", **fields: str):
        operator_page.goto(f"{cloud.dashboard}/actions/{name}{query}")
        for label, value in fields.items():
            operator_page.get_by_label(label).fill(value)
        operator_page.get_by_role("main").get_by_role("button", name=button).click()
        notice = operator_page.locator("main > .notice")
        expect(notice).to_be_visible()
        return notice

    return go


def is_waiting(cloud, person) -> bool:
    """Whether the row is free and due later."""
    query = "select lease_token is null and next_attempt_at > updated_at from public.user_fly_apps where user_id = %s"
    return cloud.sql(query, person.id) == [(True,)]


def settings_events(cloud) -> int:
    return cloud.sql("select count(*) from public.user_fly_app_events where event_type = 'settings_changed'")[0][0]


@pytest.mark.slow
def test_a_pause_stops_every_change_and_is_shown_on_every_page(press, operator_page, cloud):
    """Paused: every page shows a banner and a paying user waits. Resumed: the app is created. Two presses make one event."""
    before = settings_events(cloud)
    expect(press("pause", "Pause Hangar", Reason="Fly has an incident")).to_contain_text("now paused")
    expect(press("pause", "Pause Hangar", Reason="again")).to_contain_text("already paused")
    assert settings_events(cloud) == before + 1
    operator_page.goto(cloud.dashboard)
    expect(operator_page.locator(".banner").filter(has_text="aused")).to_be_visible()
    person = cloud.add_user("pro")
    operator_page.goto(f"{cloud.dashboard}/users/{person.id}")
    expect(operator_page.get_by_role("region", name="Current state")).to_contain_text("Hangar is paused")
    assert cloud.row(person)["fly_app_name"] not in cloud.apps()
    # An attempt that saw the pause and ends only after the end of it would leave the app waiting for up to a minute.
    cloud.wait_until("the nudged attempt has ended", lambda: is_waiting(cloud, person))
    expect(press("resume", "Resume")).to_contain_text("running")
    press("sweep", "Sweep now")
    cloud.wait_until("the app is active", lambda: cloud.row(person)["status"] == "active")
    operator_page.goto(cloud.dashboard)
    expect(operator_page.locator(".banner").filter(has_text="aused")).to_have_count(0)
    actors = cloud.sql(
        "select distinct metadata ->> 'actor' from public.user_fly_app_events where event_type = 'settings_changed'"
        " and metadata::text like %s",
        "%paused%",
    )
    assert (cloud.addresses["admin"]["email"],) in actors


@pytest.mark.slow
def test_deletions_wait_while_they_are_paused(press, operator_page, cloud, provisioned):
    """While deletions are paused an app that should be removed stays. Once they are allowed it is removed."""
    press("pause-deletes", "Pause deletions", Reason="looking into something")
    cloud.sql("update public.user_subscriptions set tier = 'free' where user_id = %s", provisioned.id)
    name = cloud.row(provisioned)["fly_app_name"]
    operator_page.goto(f"{cloud.dashboard}/users/{provisioned.id}")
    expect(
        operator_page.get_by_role("region", name="Current state").get_by_text("deprovisioning", exact=True)
    ).to_be_visible()
    assert name in cloud.apps()
    press("resume-deletes", "Allow deletions")
    press("sweep", "Sweep now")
    cloud.wait_until("the app is gone", lambda: name not in cloud.apps())


@pytest.mark.slow
def test_a_deprovision_is_cancelled(press, operator_page, cloud, provisioned):
    """Cancel deprovision removes the denial while the app still exists. The same app and machine continue."""
    press("pause-deletes", "Pause deletions", Reason="so that it can be cancelled")
    name = cloud.row(provisioned)["fly_app_name"]
    press(
        "deprovision",
        "Deprovision",
        query=f"?user={provisioned.id}",
        Reason="a mistake",
        **{f"Type {name} to confirm": name},
    )
    operator_page.goto(f"{cloud.dashboard}/users/{provisioned.id}")
    operator_page.get_by_role("link", name="Cancel deprovision").click()
    operator_page.get_by_label("Reason").fill("it was a mistake")
    operator_page.get_by_role("button", name="Cancel deprovision").click()
    expect(operator_page.get_by_role("region", name="Current state").get_by_text("active", exact=True)).to_be_visible()
    assert list(cloud.apps()[name].values()) == ["started"]
    press("resume-deletes", "Allow deletions")


@pytest.mark.slow
def test_an_override_is_shown_and_removed(press, operator_page, cloud):
    """The list and the user's page show a grant. Once it is removed, the subscription decides and the app is removed."""
    person = cloud.add_user()
    press("provision", "Provision", query=f"?user={person.id}", Reason="on trial")
    name = cloud.row(person)["fly_app_name"]
    operator_page.goto(f"{cloud.dashboard}/?q={person.email}")
    expect(operator_page.get_by_role("row").filter(has_text=person.email)).to_contain_text("granted by an operator")
    operator_page.goto(f"{cloud.dashboard}/users/{person.id}")
    operator_page.get_by_role("link", name="Remove override").click()
    operator_page.get_by_label("Reason").fill("the trial is over")
    operator_page.get_by_label(f"Type {name} to confirm").fill(name)
    operator_page.get_by_role("button", name="Remove override").click()
    expect(operator_page.get_by_role("region", name="Current state").get_by_text("deleted", exact=True)).to_be_visible()
    assert name not in cloud.apps()
    actor = cloud.addresses["admin"]["email"]
    assert cloud.actors(person, "override_set") == [actor, actor]


@pytest.mark.slow
def test_check_now_restarts_a_crashed_machine(press, cloud, provisioned):
    """The machine crashed and Hangar does not know it yet. The check starts it."""
    row = cloud.row(provisioned)
    cloud.http.post(f"{cloud.sim}/machines/{row['machine_id']}/crash").raise_for_status()
    press("check", "Check now", query=f"?user={provisioned.id}")
    cloud.wait_until("the machine runs", lambda: list(cloud.apps()[row["fly_app_name"]].values()) == ["started"])


@pytest.mark.slow
def test_a_sweep_by_hand(press, operator_page, cloud):
    """The button "Sweep now" covers the fleet, and the fleet page shows when it did."""
    press("sweep", "Sweep now")
    operator_page.goto(cloud.dashboard)
    expect(operator_page.get_by_role("link", name="last complete sweep")).to_contain_text("ago")


@pytest.mark.slow
def test_the_brake_is_shown_and_released(press, operator_page, cloud):
    """Two users leave, but only one app an hour may be removed. Every page shows the brake. After its release both apps go."""
    old = cloud.sql("select brake_floor, brake_share from hangar.settings")[0]
    people = [cloud.add_user("pro") for _ in range(2)]
    for person in people:
        cloud.wait_until("the app is active", lambda person=person: cloud.row(person).get("status") == "active")
    cloud.sql("update hangar.settings set brake_floor = 0, brake_share = 0.0, brake_released_at = hangar.now()")
    try:
        cloud.sql("update hangar.settings set brake_floor = 1")
        cloud.sql("update public.user_subscriptions set tier = 'free' where user_id = any(%s)", [p.id for p in people])
        tripped = lambda: cloud.sql("select public.fly_brake_status() ->> 'tripped'") == [("true",)]  # noqa: E731
        cloud.wait_until("the brake trips", tripped)
        cloud.wait_until(
            "the alert", lambda: cloud.sql("select 1 from hangar.alerts where kind = 'brake' and resolved_at is null")
        )
        operator_page.goto(cloud.dashboard)
        expect(operator_page.locator(".banner").filter(has_text="rake")).to_be_visible()
        press("release-brake", "Release brake", Reason="both left for good")
        cloud.sql("update hangar.settings set brake_floor = %s, brake_share = %s", *old)
        names = [cloud.row(person)["fly_app_name"] for person in people]
        press("sweep", "Sweep now")
        cloud.wait_until("both are gone", lambda: not set(names) & set(cloud.apps()))
    finally:
        cloud.sql("update hangar.settings set brake_floor = %s, brake_share = %s", *old)


@pytest.mark.slow
def test_an_orphan_is_approved_by_its_name(press, operator_page, cloud, provisioned):
    """An app with Hangar's mark and no row: found by a sweep, approved by typing its name, removed by the next sweep."""
    network = cloud.sql("select hangar.network_name(installation_id, gen_random_uuid()) from hangar.settings")[0][0]
    headers = {"Authorization": f"Bearer {cloud.addresses['fly_api_token']}"}
    body = {"app_name": "vyx-user-0badcafe", "org_slug": cloud.addresses["fly_org"], "network": network}
    cloud.http.post(f"{cloud.sim.removesuffix('/_sim')}/v1/apps", json=body, headers=headers).raise_for_status()
    press("sweep", "Sweep now")
    operator_page.goto(f"{cloud.dashboard}/controls")
    operator_page.get_by_role("row").filter(has_text="vyx-user-0badcafe").get_by_role(
        "link", name="Approve removal"
    ).click()
    operator_page.get_by_label("Type vyx-user-0badcafe to confirm").fill("vyx-user-0badcafe")
    operator_page.get_by_role("button", name="Approve removal").click()
    expect(operator_page.locator("main > .notice")).to_contain_text("approved")
    press("sweep", "Sweep now")
    assert "vyx-user-0badcafe" not in cloud.apps()
    assert cloud.row(provisioned)["fly_app_name"] in cloud.apps()


@pytest.mark.slow
def test_two_operators_at_once_create_one_app(operator_page, open_context, sign_in, cloud):
    """Both confirm the same provision: one override, one app, and both see it."""
    person = cloud.add_user()
    other = sign_in(open_context().new_page())
    expect(other.get_by_role("heading", name="Apps")).to_be_visible()
    for page in (operator_page, other):
        page.goto(f"{cloud.dashboard}/actions/provision?user={person.id}")
        page.get_by_label("Reason").fill("both of us")
    operator_page.get_by_role("button", name="Provision").click(no_wait_after=True)
    other.get_by_role("button", name="Provision").click()
    for page in (operator_page, other):
        expect(page.get_by_role("region", name="Current state").get_by_text("active", exact=True)).to_be_visible()
    mine = [name for name in cloud.apps() if name == cloud.row(person)["fly_app_name"]]
    assert len(mine) == 1
    assert cloud.sql("select count(*) from public.user_fly_apps where user_id = %s", person.id) == [(1,)]


@pytest.mark.slow
def test_the_list_is_exported(operator_page, cloud, provisioned):
    """The CSV has what the filter shows. The browser downloads it."""
    operator_page.goto(f"{cloud.dashboard}/?q={provisioned.email}")
    with operator_page.expect_download() as started:
        operator_page.get_by_role("link", name="Export as CSV").click()
    lines = started.value.path().read_text().splitlines()
    assert len(lines) == 2
    assert provisioned.email in lines[1]
