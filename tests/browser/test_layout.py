"""How pages fill a window, in numbers: nothing is wider than its place, charts end where their labels do, lists stay short."""

import uuid

import pytest
from playwright.sync_api import expect

WIDTHS = (360, 400, 800, 1024, 1440, 1920)
# The elements that are wider than the place they are in, apart from those that are hidden or cut on purpose.
OVERFLOWING = """
() => [...document.querySelectorAll("main *, header *")].filter((each) => {
  const style = getComputedStyle(each), box = each.getBoundingClientRect();
  if (!box.width || style.clipPath !== "none" || style.overflowX === "hidden") return false;
  if (each.closest("svg, .hidden, thead")) return false;
  const card = each.parentElement.closest(".card, .columns > section, .state, .figure, table, main")?.getBoundingClientRect();
  return box.right > innerWidth + 1 || (card && box.right > card.right + 1);
}).map((each) => `${each.tagName}.${each.className}: ${each.textContent.trim().slice(0, 40)}`)
"""


def find_overflows(page):
    """What is wider than its place, and whether the whole page scrolls sideways."""
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return page.evaluate(OVERFLOWING) + ([f"the page scrolls by {wide} px"] if wide > 0 else [])


@pytest.fixture(scope="module")
def crowd(_local_cloud):
    """Fifty apps with content in every column, in several tiers and regions, some failing; one has cost something each day."""
    cloud, mark = _local_cloud, uuid.uuid4().hex[:6]
    cloud.sql("update hangar.settings set paused = true")  # nobody works on the made-up apps
    cloud.sql(
        """
        with people as (
          insert into auth.users (id, email)
          select gen_random_uuid(), 'somebody.with.a.long.name-' || %s || '-' || n || '@customers.example.test'
            from generate_series(1, 50) n
          returning id, email
        )
        insert into public.user_fly_apps (
          user_id, fly_app_name, fly_org_slug, network, status, health_status, region, docker_image, tier, machine_id,
          machine_state, monthly_cost_estimate_usd, next_attempt_at, error_code, error_message, created_at, retry_count)
        select p.id, 'vyx-user-' || left(md5(p.email), 8), 'x', 'n-' || p.id,
               case when p.email ~ '7@' then 'error' else 'active' end,
               'healthy', (array['sin', 'nrt', 'fra'])[1 + length(p.email) %% 3], 'registry.example.test/team/backend:v1.2.3',
               'pro', left(md5(p.email), 14), 'started', 6.00, null, case when p.email ~ '7@' then 'image' end,
               case when p.email ~ '7@' then 'could not find image: manifest unknown' end, now() - interval '40 days', 3
          from people p""",
        mark,
    )
    cloud.sql(
        "update public.user_fly_apps set drift = jsonb_object(array['environment', 'image', 'metadata', 'region', 'secrets'],"
        " array_fill('x'::text, array[5]))"
        " where id in (select id from public.user_fly_apps where network like 'n-%%' and status = 'active' order by id limit 12)"
    )
    [(user, app)] = cloud.sql(
        "select user_id, id from public.user_fly_apps where network like 'n-%%' order by created_at limit 1"
    )
    cloud.sql(
        "update public.fly_cost_intervals set price_usd_per_s = 0.000002, started_at = now() - interval '35 days'"
        " where fly_app_id = %s",
        app,
    )
    cloud.sql(
        "select public.fly_raise_alert('crash_loop', %s, %s)", str(app), f"The app of user {user} does not stay up"
    )
    yield user, mark
    cloud.sql("select public.fly_resolve_alert('crash_loop', %s)", str(app))
    cloud.sql("update public.user_fly_apps set status = 'deleted', deleted_at = now() where network like 'n-%%'")
    cloud.sql("update hangar.settings set paused = false")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.slow
def test_nothing_is_wider_than_its_place(operator_page, cloud, crowd, width):
    """On every page, with long e-mails, errors and alerts."""
    user, _ = crowd
    operator_page.set_viewport_size({"width": width, "height": 900})
    paths = ("", "/failures", "/events", "/costs", "/controls", "/releases", f"/users/{user}", "/search?q=somebody")
    for path in paths:
        operator_page.goto(f"{cloud.dashboard}{path}")
        assert operator_page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), (
            path
        )
        assert operator_page.evaluate(OVERFLOWING) == [], path


@pytest.mark.parametrize(("width", "most_px"), [(400, 11000), (800, 5500), (1440, 4200), (1920, 4200)])
@pytest.mark.slow
def test_a_full_page_of_apps_is_not_tall(operator_page, cloud, crowd, width, most_px):
    """Fifty rows. They were 9,100 px at a width of 800."""
    operator_page.set_viewport_size({"width": width, "height": 900})
    operator_page.goto(f"{cloud.dashboard}/?q={crowd[1]}")
    expect(operator_page.locator("table.apps tbody tr")).to_have_count(50)
    height = operator_page.locator("table.apps").evaluate("(each) => each.getBoundingClientRect().height")
    assert height <= most_px


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.slow
def test_the_bars_of_a_chart_stand_above_their_labels(operator_page, cloud, crowd, width):
    """The first bar begins above the first day, the last one ends above "today", and equal days are equally high."""
    operator_page.set_viewport_size({"width": width, "height": 900})
    operator_page.goto(f"{cloud.dashboard}/users/{crowd[0]}")
    found = operator_page.evaluate(
        """() => {
          const box = (each) => each.getBoundingClientRect();
          const bars = [...document.querySelectorAll("svg.chart:not(.strip) rect.bar")].map(box);
          const ends = box(document.querySelector("figure .ends")), strip = box(document.querySelector("svg.strip"));
          return {first: bars[0].left - ends.left, last: ends.right - bars.at(-1).right,
                  heights: bars.slice(1, -1).map((each) => each.height),
                  chart: box(document.querySelector("svg.chart")).width - ends.width, strip: strip.width};
        }"""
    )
    assert abs(found["first"]) < 4
    assert abs(found["last"]) < 4
    assert abs(found["chart"]) < 1
    assert max(found["heights"]) - min(found["heights"]) < 1
    assert min(found["heights"]) > 60
    assert found["strip"] > 200


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 800, 1440])
def test_a_form_shows_every_name_that_it_lists(operator_page, cloud, width):
    """What is confirmed is in sight: 20 names and the number of the others, none of them in a column outside the card."""
    cloud.sql("update hangar.settings set paused = false")
    cloud.sql(
        "insert into public.user_fly_apps (user_id, fly_app_name, fly_org_slug, network, region, docker_image, status,"
        " error_code, error_message, next_attempt_at) select gen_random_uuid(), 'listed-' || n, 'x', 'listed', 'sin', 'i',"
        " 'error', 'listed', 'It fails', null from generate_series(1, 25) n"
    )
    try:
        operator_page.set_viewport_size({"width": width, "height": 900})
        operator_page.goto(f"{cloud.dashboard}/actions/retry-cause?cause=listed")
        expect(operator_page.locator(".going > li")).to_have_count(21)
        hidden = operator_page.evaluate(
            """() => {
              const list = document.querySelector(".going"), place = list.getBoundingClientRect();
              return [...list.children].map((each) => each.getBoundingClientRect())
                .filter((each) => each.right > place.right + 1 || each.bottom > place.bottom + 1).length;
            }"""
        )
        assert hidden == 0
    finally:
        cloud.sql("delete from public.user_fly_apps where network = 'listed'")
