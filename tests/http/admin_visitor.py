"""A dashboard client without a browser: keeps cookies, submits forms with their fields, follows one redirect."""

import re
import time
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx
from pydantic import SecretStr

from functions.admin.auth.session import SESSION_COOKIE, CookieSealer
from local.dev.database import FREE_USERS

PATIENCE_S = 60
USER = FREE_USERS[0].id
PAGES = [
    "", "?status=error&q=user", "search", "search?q=user", f"users/{USER}", "events", "events?user=user-1@example.test",
    "failures", "costs", "costs?users=1234", "controls", "releases", "actions/create-release", f"actions/provision?user={USER}",
    f"actions/deprovision?user={USER}", "actions/pause", "actions/approve-orphan?app=vyx-user-00000000", "fleet.csv",
    "doctor", f"users/{USER}/machine",
]  # fmt: skip
COOKIES = re.compile(r"([^=;]+)=([^;]*)")


class Forms(HTMLParser):
    """The forms of a page: method, action, and the fields with their values."""

    def __init__(self, html):
        super().__init__()
        self.forms = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "form":
            self.forms.append({"method": given.get("method", "get"), "action": given.get("action", ""), "fields": {}})
        elif tag in ("input", "select") and "name" in given and self.forms:
            self.forms[-1]["fields"][given["name"]] = given.get("value", "")


@dataclass
class Visitor:
    """One browser profile. It sends secure cookies over http, as browsers do on loopback."""

    url: str
    client: httpx.Client
    secret_key: str
    cookies: dict = field(default_factory=dict)

    def send(self, method, path, headers=None, **request):
        given = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} | (headers or {})
        answer = self.client.request(method, urljoin(self.url + "/", path), headers=given, **request)
        for line in answer.headers.get_list("set-cookie"):
            name, value = COOKIES.match(line).groups()
            self.cookies[name] = value
            if "Max-Age=0" in line or not value:
                del self.cookies[name]
        return answer

    def get(self, path, **headers):
        return self.send("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def sign_in(self, email, password, after=""):
        return self.send("POST", "sign-in", data={"email": email, "password": password, "next": after})

    def follow(self, answer):
        """Follow a redirect. Returns the page that it leads to."""
        assert answer.status_code == 303, answer.text
        return self.get(urljoin(str(answer.url), answer.headers["location"]).removeprefix(f"{self.url}/"))

    def submit(self, path, **values):
        """Open the page at `path`, fill in its last form and send it. Returns the response."""
        page = self.get(path)
        assert page.status_code == 200, page.text
        form = Forms(page.text).forms[-1]
        assert form["method"] == "post"
        action = urljoin(str(page.url), form["action"]).removeprefix(f"{self.url}/")
        return self.send("POST", action, data=form["fields"] | values)

    def act(self, name, user=None, **values):
        """Confirm an action, and open the page it leads to."""
        return self.follow(self.submit(f"actions/{name}" + (f"?user={user}" if user else ""), **values))

    @property
    def sealer(self):
        return CookieSealer(SecretStr(self.secret_key))

    @property
    def session(self):
        return self.sealer.unseal("session", self.cookies[SESSION_COOKIE])

    def change_session(self, **changes):
        self.cookies[SESSION_COOKIE] = self.sealer.seal("session", self.session | changes)


def text_of(page):
    """The text of a page, without tags, single-spaced."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page.text)))


def notice(page):
    """The notice of an action, as text."""
    found = re.search(r'<p class="notice \w+" role="\w+">.*?<span>(.*?)</span></p>', page.text, re.DOTALL)
    return found[1] if found else None


def shown_state(page):
    """The text of the card with the current state of a user's app."""
    [card] = re.findall(r'<section class="state".*?</section>', page.text, re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", card))


def wait_until(check, page=lambda: None):
    """Wait until `check` is true. The dashboard answers "accepted" if an action takes longer than its time-out."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.1)
    raise AssertionError(page())
