"""The first page of the dashboard: figures, list, filters, order, keyset pages and export."""

import base64
import csv
import io
import re
import uuid
from html import unescape

import pytest

from local.dev.database import FREE_USERS
from tests.http.admin_visitor import text_of

USER = FREE_USERS[0].id
MOST_BYTES = 100_000


def rows_of(page):
    return re.findall(r'<tr data-live="app-[^"]+">.*?</tr>', page.text, re.DOTALL)


def users_of(page):
    return re.findall(r'users/([0-9a-f-]{36})">', "".join(rows_of(page)))


def test_a_row_shows_everything_about_an_app(operator, make_app):
    user = make_app(
        "full@example.test", status="error", health_status="unhealthy", error_code="image", error_message="no such image",
        retry_count=7, machine_region="fra",
    )  # fmt: skip
    [row] = rows_of(operator.get(f"?q={user}"))
    plain = re.sub(r"<[^>]+>", " ", row)
    for word in (
        "full@example.test",
        "vyx-user-",
        "error",
        "image",
        "unhealthy",
        "fra",
        "shared",
        "512 MB",
        "backend:v1",
    ):
        assert word in plain, word
    assert "$6.00" in plain
    assert "7" in plain
    assert "granted by an operator" in plain
    assert f"users/{user}" in row


@pytest.mark.slow
def test_every_page_of_a_full_list_is_small_and_links_to_the_next(operator, make_app):
    """Keyset pages show every app exactly once."""
    mark = uuid.uuid4().hex[:10]
    made = {make_app(f"{mark}-{number}-{'long' * 20}@example.test", error_message="e" * 300) for number in range(120)}
    for sort in ("created", "app", "cost", "checked", "retries"):
        path, seen = f"?q={mark}&sort={sort}", []
        while path:
            page = operator.get(path)
            assert len(page.content) < MOST_BYTES
            seen += re.findall(r'users/([0-9a-f-]{36})">', "".join(rows_of(page)))
            next_link = re.search(r'rel="next" href="\./([^"]+)"', page.text)
            path = unescape(next_link[1]) if next_link else None
        assert (len(seen), set(seen)) == (120, made), sort


def test_a_sorted_column_names_its_order(operator, make_app):
    mark = uuid.uuid4().hex[:10]
    few, many = make_app(f"{mark}-a@x.test", retry_count=1), make_app(f"{mark}-b@x.test", retry_count=5)
    page = operator.get(f"?q={mark}&sort=retries")
    assert [user in row for user, row in zip((many, few), rows_of(page), strict=True)] == [True, True]
    assert 'aria-sort="descending"' in page.text
    turned = unescape(re.search(r'aria-sort="descending"[^>]*><a href="\./([^"#]+)', page.text)[1])
    page = operator.get(turned)
    assert [user in row for user, row in zip((few, many), rows_of(page), strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("status=error", {"status": "error"}),
        ("health=unhealthy", {"health_status": "unhealthy"}),
        ("health=unknown", {"health_status": None}),
        ("region=fra", {"machine_region": "fra"}),
        ("cause=image", {"status": "error", "error_code": "image"}),
        ("tier=elite", {"tier": "elite"}),
        ("work=stuck", {"status": "error"}),
        ("work=override", {}),
    ],
)
def test_a_filter_shows_only_what_matches(operator, make_app, query, columns):
    mark = uuid.uuid4().hex[:10]
    wanted = make_app(f"{mark}-1@x.test", **columns)
    other = make_app(f"{mark}-2@x.test")
    page = operator.get(f"?q={mark}&{query}")
    assert wanted in page.text
    assert (other in page.text) == (query == "work=override")


def test_a_filter_without_a_match_says_so(operator):
    page = operator.get("?status=error&q=nobody-at-all")
    assert "No app matches this filter" in page.text
    assert "Searched for" in page.text


@pytest.mark.parametrize("page", ["", "fleet.csv"])
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("status=bogus", "There is no status “bogus”. Choose one of active, provisioning, error, deprovisioning."),
        ("health=Healthy", "There is no health “Healthy”. Choose one of healthy, unhealthy, unknown."),
        ("work=stuk", "There is no work “stuk”. Choose one of due, overdue, retrying, stuck, drift, override, legacy."),
        ("tier=gold", "There is no tier “gold”. Choose one of elite, free, pro"),
        ("region=atlantis", "There is no region “atlantis”. Choose one of "),
        ("sort=password", "There is no sort “password”. Choose one of created, app, cost, checked, retries."),
        ("order=up", "There is no order “up”. Choose one of asc, desc."),
        (
            "stauts=error",
            "There is no filter “stauts”. The filters are status, health, work, tier, region, sort, order, cause, q",
        ),
        ("status=error&status=active", "The filter status is given more than once: active, error."),
    ],
)
def test_a_filter_that_does_not_exist_is_refused_by_name_and_lists_nothing(operator, make_app, page, query, sentence):
    """An address that asks for something else must not show, or export, the whole fleet."""
    user = make_app()
    answer = operator.get(f"{page}?{query}")
    assert answer.status_code == 400
    assert sentence in text_of(answer)
    assert user not in answer.text
    assert "data-live-every" not in answer.text


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("events?type=nonsense", "There is no type “nonsense”. Choose one of "),
        ("events?status=bogus", "There is no status “bogus”. Choose one of "),
        ("events?span=1y", "There is no span “1y”. Choose one of 1h, 24h, 7d, 30d."),
        ("events?day=9999-99-99", "There is no day “9999-99-99”. A day is written like 2026-11-30."),
        ("events?day=today", "There is no day “today”."),
        ("events?kind=x", "There is no filter “kind”."),
        ("events?span=1h&day=2026-11-27", "Choose a time or a day, not both"),
        ("failures?cause=image", "This page has no filter “cause”"),
        ("releases?state=paused", "This page has no filter “state”"),
        ("costs?tier=pro", "This page has no filter “tier”"),
        ("controls?kind=drift", "This page has no filter “kind”"),
        (f"users/{USER}?type=nonsense", "There is no type “nonsense”. Choose one of "),
    ],
)
def test_a_filter_of_the_log_that_does_not_exist_is_refused_by_name(operator, path, sentence):
    answer = operator.get(path)
    assert answer.status_code == 400
    assert sentence in text_of(answer)
    assert 'data-live="event-' not in answer.text


def test_the_filters_in_use_are_shown_and_each_can_be_removed(operator, make_app):
    mark = uuid.uuid4().hex[:10]
    mine = make_app(f"{mark}-1@x.test", tier="elite", machine_region="fra")
    other = make_app(f"{mark}-2@x.test", tier="elite", machine_region="ams")
    page = operator.get(f"?q={mark}&tier=elite&region=fra&sort=app")
    assert mine in page.text
    assert other not in page.text
    chips = re.search(r'<ul class="chips" aria-label="Filters in use">.*?</ul>', page.text, re.DOTALL)[0]
    links = {
        label: unescape(href)
        for href, label in re.findall(r'href="\./\?([^"#]*)#apps".*?remove the filter (\w+)<', chips)
    }
    assert {label: set(link.split("&")) for label, link in links.items()} == {
        "search": {"tier=elite", "region=fra", "sort=app"},
        "tier": {f"q={mark}", "region=fra", "sort=app"},
        "region": {f"q={mark}", "tier=elite", "sort=app"},
    }
    assert other in operator.get(f"?{links['region']}").text
    assert re.search(r'<option value="fra" selected>fra \(', page.text)
    assert re.search(r'<option value="elite" selected>elite \(', page.text)
    assert re.search(r'<td data-label="Tier">elite</td>', page.text)


def test_each_page_says_how_many_apps_there_are_and_leads_back(operator, make_app):
    mark = uuid.uuid4().hex[:10]
    made = {make_app(f"{mark}-{number}@example.test") for number in range(120)}

    def follow(rel, page):
        link = re.search(rf'rel="{rel}" href="\./([^"]+)"', page.text)
        return operator.get(unescape(link[1])) if link else None

    pages = [operator.get(f"?q={mark}&sort=app")]
    while further := follow("next", pages[-1]):
        pages.append(further)
    counts = [re.search(r"Apps (\d+ to \d+ of \d+)", text_of(page))[1] for page in pages]
    assert counts == ["1 to 50 of 120", "51 to 100 of 120", "101 to 120 of 120"]
    back = follow("prev", pages[2])
    assert [users_of(back), users_of(follow("prev", back))] == [users_of(pages[1]), users_of(pages[0])]
    assert follow("prev", pages[0]) is None
    assert {user for page in pages for user in users_of(page)} == made


def test_a_page_whose_apps_are_gone_says_so(operator, make_app, sql):
    mark = uuid.uuid4().hex[:10]
    for number in range(51):
        make_app(f"{mark}-{number}@example.test")
    page = operator.get(f"?q={mark}&sort=app")
    link = unescape(re.search(r'rel="next" href="\./([^"]+)"', page.text)[1])
    last = users_of(operator.get(link))
    sql("update public.user_fly_apps set status = 'deleted', deleted_at = now() where user_id = %s", last[0])
    text = text_of(operator.get(link))
    assert "There are no further apps. First page" in text
    assert "There are no apps yet" not in text


def test_an_address_with_a_broken_place_shows_the_first_page(operator):
    for path in ("?after=evil", "?after=WzEsMl0", "?before=evil", "events?after=e30"):
        assert operator.get(path).status_code == 200


@pytest.mark.parametrize("after", ["WyJ4IiwieSJd", "WyIyMDI2IiwieSJd"])
def test_an_invalid_cursor_is_400(operator, after):
    """The database refuses a cursor whose two parts are not a time and an id."""
    answer = operator.get(f"?after={after}")
    assert answer.status_code == 400
    assert "contains an invalid value" in answer.text


DEEP = base64.urlsafe_b64encode(b"[" * 2000).decode()
HALF_CHARACTERS = base64.urlsafe_b64encode(rb'["\ud800","\ud800"]').decode()


@pytest.mark.parametrize("page", ["", "events", f"users/{USER}"])
@pytest.mark.parametrize("query", [f"after={DEEP}", f"after={HALF_CHARACTERS}"])
def test_a_cursor_made_to_break_the_parser_is_400(operator, page, query):
    answer = operator.get(f"{page}?{query}")
    assert answer.status_code == 400
    assert "contains an invalid value" in answer.text


def test_the_export_has_the_whole_list_and_no_formula(operator, make_app):
    mark = uuid.uuid4().hex[:10]
    for number in range(60):
        make_app(
            f"{mark}-{number}@x.test",
            error_message="=cmd|' /C calc'!A0" if number == 7 else 'a "quoted", text\nwith lines',
        )
    answer = operator.get(f"fleet.csv?q={mark}")
    assert answer.headers["content-disposition"].startswith('attachment; filename="hangar-fleet-')
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["email"] for row in rows} == {f"{mark}-{number}@x.test" for number in range(60)}
    assert sorted({row["error_message"] for row in rows}) == ["'=cmd|' /C calc'!A0", 'a "quoted", text\nwith lines']


def test_the_figures_match_the_database(operator, make_app, sql):
    make_app(status="provisioning")
    page = operator.get("")
    for status in ("active", "provisioning", "error", "deprovisioning"):
        [(apps,)] = sql("select count(*) from public.user_fly_apps where status = %s and deleted_at is null", status)
        shown = re.search(rf'data-live="figure-{status}".*?<span class="number">([\d,]+)<', page.text, re.DOTALL)
        assert int(shown[1].replace(",", "")) == apps, status


def test_an_override_that_has_ended_is_shown_as_over_and_not_listed(operator, make_app, sql):
    """Its row stays until an operator removes it. Until its last moment it counts."""
    user = make_app()
    sql("update public.fly_overrides set ends_at = '2999-01-31 23:59:59+00' where user_id = %s", user)
    assert "An app is granted on plan pro by test, until 2999-01-31 23:59 UTC." in text_of(
        operator.get(f"users/{user}")
    )
    assert user in operator.get("?work=override").text
    sql("update public.fly_overrides set ends_at = '2026-11-01 10:30+00' where user_id = %s", user)
    page = text_of(operator.get(f"users/{user}"))
    assert "An app was granted on plan pro by test, until 2026-11-01 10:30 UTC. That is over" in page
    assert user not in operator.get("?work=override").text


@pytest.mark.parametrize("digits", [9, 5000])
def test_a_number_of_users_that_is_too_large_is_refused_and_not_an_error(operator, digits):
    page = operator.get(f"costs?users={'9' * digits}")
    assert page.status_code == 200
    assert "Enter a whole number from 1 to 10,000,000" in page.text
