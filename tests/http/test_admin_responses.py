"""What every response of the dashboard must have, and what none may contain: headers, caching, methods, errors, secrets."""

import json
import re
import uuid
from html.parser import HTMLParser

import pytest
from pydantic import SecretStr

from functions.admin.app import MAX_FORM_BYTES, make_app
from functions.admin.auth.session import CookieSealer
from functions.admin.guard import OPEN_ENDPOINTS
from functions.admin.request_context import AdminContext
from tests.http.admin_visitor import PAGES, USER


@pytest.mark.parametrize(
    "path", ["", "sign-in", "nothing-here", "users/not-a-uuid", "assets/none.css", "assets/../main.py"]
)
def test_every_answer_has_the_headers(visitor, path):
    answer = visitor.get(path)
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data:",
        "connect-src": "'self'", "form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert uuid.UUID(answer.headers["x-request-id"])


def test_a_static_file_with_its_hash_is_cached_for_ever(visitor):
    page = visitor.get("sign-in")
    [style] = re.findall(r'href="(\./assets/hangar\.css\?\w+)"', page.text)
    kept = visitor.get(style)
    assert kept.status_code == 200
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert kept.headers["content-type"] == "text/css; charset=utf-8"
    assert visitor.get("assets/hangar.css?old").headers["cache-control"] == "no-cache"


def test_every_route_names_its_methods(operator):
    """Only POST changes anything, other methods are refused, and every endpoint except the open ones needs an operator."""
    sealer = CookieSealer(SecretStr("sb_secret_test"))
    app = make_app(AdminContext(config=None, database=None, sign_in_service=None, sealer=sealer))
    methods = {rule.endpoint: rule.methods - {"HEAD", "OPTIONS"} for rule in app.url_map.iter_rules()}
    changing = {"actions.run_action", "sign_in.sign_in", "sign_in.sign_out"}
    # The checks change nothing, but they are not run by a link: they ask Fly and take a while.
    assert {name for name, takes in methods.items() if "POST" in takes} == changing | {"doctor.run_checks"}
    assert methods.keys() > OPEN_ENDPOINTS
    assert {name for name in OPEN_ENDPOINTS if not name.startswith("sign_in.")} == {"static"}
    for method in ("PUT", "PATCH", "DELETE", "BREW"):
        for path in ("", "events", "sign-in", "actions/pause", f"users/{USER}"):
            assert operator.send(method, path).status_code == 405, (method, path)
    assert operator.send("POST", "events").status_code == 405
    assert operator.send("GET", "sign-out").status_code == 405


def test_a_form_that_is_too_large_is_refused(operator):
    answer = operator.send("POST", "actions/pause", data={"proof": "x", "reason": "r" * 2 * MAX_FORM_BYTES})
    assert answer.status_code == 413


class InlineParts(HTMLParser):
    """Inline scripts, styles and event handlers of a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)
        self.found += [name for name in names if name == "style" or name.startswith("on")]
        self.found += [value for value in names.values() if (value or "").strip().lower().startswith("javascript:")]


def test_no_page_has_an_inline_script_or_style(operator):
    """The content security policy would block them, so there must be none."""
    assert InlineParts('<p title="a onclick=b">c onclick=d</p>').found == []
    assert len(InlineParts('<style></style><script>1</script><a onclick=b style=c href="JavaScript:d">').found) == 5
    answers = {page: operator.get(page) for page in PAGES}
    assert [page for page, answer in answers.items() if "html" not in answer.headers["content-type"]] == ["fleet.csv"]
    for page, answer in answers.items():
        assert page == "fleet.csv" or InlineParts(answer.text).found == [], page


def test_an_error_page_shows_the_request_id_and_no_secret(admin_cloud, operator, sql):
    """A procedure is missing, as it is before the migrations are applied."""
    sql("alter function public.fly_admin_figures() rename to fly_admin_figures_gone")
    sql("notify pgrst, 'reload schema'")
    try:
        answer = operator.get("")
    finally:
        sql("alter function public.fly_admin_figures_gone() rename to fly_admin_figures")
    assert answer.status_code == 500
    assert "supabase db push" in answer.text
    assert answer.headers["x-request-id"] in answer.text
    known = admin_cloud.addresses
    for secret in (known["secret_key"], known["fly_api_token"], operator.session["access_token"], "Traceback"):
        assert secret not in answer.text


def test_no_token_is_in_a_log_or_page(admin_cloud, operator):
    pages = "".join(operator.get(page).text for page in PAGES)
    log = (admin_cloud.folder / "logs" / "admin.log").read_text()
    for secret in (
        operator.session["access_token"],
        operator.session["refresh_token"],
        admin_cloud.addresses["admin"]["password"],
    ):
        assert secret not in pages
        assert secret not in log
    assert all(
        json.loads(line)["severity"] in ("INFO", "WARNING", "ERROR")
        for line in log.splitlines()
        if line.startswith("{")
    )
