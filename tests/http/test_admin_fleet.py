"""The first page of the dashboard: figures, list, filters, order, keyset pages and export."""

import base64
import csv
import io
import re
import uuid
from html import unescape

import pytest

from local.dev.database import FREE_USERS

USER = FREE_USERS[0].id
MOST_BYTES = 100_000


def rows_of(page):
    return re.findall(r'<tr data-live="app-[^"]+">.*?</tr>', page.text, re.DOTALL)


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


@pytest.mark.parametrize(
    "path", ["?status=evil&sort=evil&after=evil&order=evil", "?after=WzEsMl0", "events?after=e30&type=x&day=9999-99-99"]
)
def test_an_address_with_unknown_values_shows_the_first_page(operator, path):
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
