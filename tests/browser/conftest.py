"""The dashboard in a real browser: one local cloud and one Chromium for all tests, a fresh page for each.

A page that logs an error, breaks its content security policy or throws fails its test, unless the test says that it expects it.
"""

import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from local.dev.cloud import LocalCloud
from local.supabase.auth.service import hash_password
from tests.browser.chromium import ARGUMENTS, HOW, find_chromium

PATIENCE_MS = 20_000


@dataclass(frozen=True)
class Person:
    """One of the host's users."""

    id: uuid.UUID
    email: str


@dataclass
class Cloud:
    """What a test sees of the local cloud: the dashboard, Fly's world, the database."""

    addresses: dict[str, Any]
    http: httpx.Client

    @property
    def dashboard(self) -> str:
        return self.addresses["functions"]["admin"]

    def sql(self, query: str, *params: Any) -> list[tuple]:
        with psycopg.connect(self.addresses["database_url"], autocommit=True) as connection:
            cursor = connection.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    def apps(self) -> dict[str, dict[str, str]]:
        """Fly's truth: each app's machines, by id, with their state."""
        world = self.http.get(f"{self.sim}/world").raise_for_status().json()
        return {app["name"]: {each["id"]: each["state"] for each in app["machines"]} for app in world["apps"]}

    def fault(self, *rules: dict[str, Any]) -> None:
        """Have Fly fail in these ways from now on; none: not at all."""
        self.http.put(f"{self.sim}/faults", json=list(rules)).raise_for_status()

    def add_user(self, tier: str = "free", *, email: str | None = None, password: str | None = None) -> Person:
        """Somebody new; with a password, somebody who can sign in."""
        person = uuid.uuid4()
        address = email or f"u{person.hex[:10]}@example.test"
        self.sql(
            "insert into auth.users (id, email, encrypted_password, email_confirmed_at) values (%s, %s, %s, now())",
            person,
            address,
            hash_password(password) if password else None,
        )
        if tier != "free":
            self.sql("update public.user_subscriptions set tier = %s where user_id = %s", tier, person)
        return Person(person, address)

    def row(self, person: Person) -> dict[str, Any]:
        """The user's newest row, {} when there never was one."""
        found = self.sql(
            "select to_jsonb(a) from public.user_fly_apps a where user_id = %s order by created_at desc limit 1",
            person.id,
        )
        return found[0][0] if found else {}

    def wait_until(self, what: str, is_true: Callable[[], Any]) -> Any:
        """The first true answer; the world may take its time."""
        ends_at = time.monotonic() + PATIENCE_MS / 1000
        while not (answer := is_true()):
            assert time.monotonic() < ends_at, f"not within {PATIENCE_MS / 1000:.0f} s: {what}"
            time.sleep(0.1)
        return answer

    def actors(self, person: Person, event_type: str) -> list[str | None]:
        """Who stands as the actor of this user's events of one type."""
        rows = self.sql(
            "select metadata ->> 'actor' from public.user_fly_app_events where user_id = %s and event_type = %s order by"
            " created_at",
            person.id,
            event_type,
        )
        return [actor for (actor,) in rows]

    @property
    def sim(self) -> str:
        return self.addresses["fly_api_url"].removesuffix("/v1") + "/_sim"


@pytest.fixture(scope="session")
def _local_cloud(tmp_path_factory) -> Iterator[Cloud]:
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as cloud, httpx.Client(timeout=30) as http:
        yield Cloud(cloud.addresses, http)


@pytest.fixture
def cloud(_local_cloud) -> Iterator[Cloud]:
    """The cloud, on which Fly fails no more once the test is over."""
    yield _local_cloud
    _local_cloud.fault()


@pytest.fixture(scope="session")
def _playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(_playwright) -> Iterator[Browser]:
    """The system's Chromium."""
    found = find_chromium()
    if found is None:
        pytest.skip(HOW)
    started = _playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
    yield started
    started.close()


@dataclass
class Complaints:
    """What the browser logged as an error, and which of it a test expects."""

    heard: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def expect(self, pattern: str) -> None:
        """From now on, errors in which `pattern` is found are part of the test."""
        self.expected.append(pattern)

    @property
    def unexpected(self) -> list[str]:
        return [text for text in self.heard if not any(re.search(pattern, text) for pattern in self.expected)]


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    found = Complaints()
    yield found
    assert found.unexpected == []


@pytest.fixture
def open_context(browser, complaints) -> Iterator[Callable[..., BrowserContext]]:
    """A further browser profile, as a second person has it."""
    opened: list[BrowserContext] = []

    def listen(page: Page) -> None:
        page.on("console", lambda message: message.type == "error" and complaints.heard.append(message.text))
        page.on("pageerror", lambda error: complaints.heard.append(str(error)))

    def open_one(**options: Any) -> BrowserContext:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        context.on("page", listen)
        opened.append(context)
        return context

    expect.set_options(timeout=PATIENCE_MS)
    yield open_one
    for context in opened:
        context.close()


@pytest.fixture
def page(open_context) -> Page:
    """A page of a browser that was never here."""
    return open_context().new_page()


@pytest.fixture
def sign_in(cloud) -> Callable[..., Page]:
    """Let a page's browser in by the form, as the local operator unless told otherwise; the page then shows the fleet."""

    def fill(page: Page, email: str | None = None, password: str | None = None) -> Page:
        page.goto(cloud.dashboard)
        page.get_by_label("E-mail").fill(email or cloud.addresses["admin"]["email"])
        page.get_by_label("Password").fill(password or cloud.addresses["admin"]["password"])
        page.get_by_role("button", name="Sign in", exact=True).click()
        return page

    return fill


@pytest.fixture
def operator_page(page, sign_in) -> Page:
    """A page of an operator who is signed in."""
    sign_in(page)
    expect(page.get_by_role("heading", name="Apps")).to_be_visible()
    return page


@pytest.fixture
def user_page(cloud) -> Callable[[Person], str]:
    """The address of one user's page."""
    return lambda person: f"{cloud.dashboard}/users/{person.id}"


@pytest.fixture
def provisioned(cloud) -> Person:
    """A paying user whose app is active."""
    person = cloud.add_user("pro")
    cloud.wait_until("the app is active", lambda: cloud.row(person).get("status") == "active")
    return person
