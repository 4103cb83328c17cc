"""The dashboard in a real browser: one local cloud and one Chromium for all tests, a new page for each.

A page that logs an error, violates its content security policy or throws fails its test, unless the test expects it.
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
from local.supabase.auth.users import hash_password
from tests.browser.chromium import ARGUMENTS, HOW, find_chromium
from tests.support.databases import fresh_database

PATIENCE_MS = 20_000


@dataclass(frozen=True)
class Person:
    """One of the host's users."""

    id: uuid.UUID
    email: str


@dataclass
class Cloud:
    """The parts of the local cloud that a test uses: dashboard, Fly, database."""

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
        """The apps on Fly: each with its machines by id, and their state."""
        world = self.http.get(f"{self.sim}/world").raise_for_status().json()
        return {app["name"]: {each["id"]: each["state"] for each in app["machines"]} for app in world["apps"]}

    def fault(self, *rules: dict[str, Any]) -> None:
        """Make Fly fail in these ways from now on. Without rules it does not fail."""
        self.http.put(f"{self.sim}/faults", json=list(rules)).raise_for_status()

    def add_user(self, tier: str = "free", *, email: str | None = None, password: str | None = None) -> Person:
        """Add a user. With a password the user can sign in."""
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
        """The user's newest row, {} if there never was one."""
        found = self.sql(
            "select to_jsonb(a) from public.user_fly_apps a where user_id = %s order by created_at desc limit 1",
            person.id,
        )
        return found[0][0] if found else {}

    def wait_until(
        self,
        what: str,
        is_true: Callable[[], Any],
        within_s: float = PATIENCE_MS / 1000,
        explain: Callable[[], str] = lambda: "",
    ) -> Any:
        """Wait for the first true answer. A failure says what `explain` returns."""
        ends_at = time.monotonic() + within_s
        while not (answer := is_true()):
            assert time.monotonic() < ends_at, f"not within {within_s:.0f} s: {what}. {explain()}"
            time.sleep(0.1)
        return answer

    def drain(self) -> None:
        """Let Hangar work on what is due, without waiting for the minute of the scheduler."""
        secret = {"X-Hangar-Secret": self.addresses["static_secret"]}
        self.http.post(self.addresses["functions"]["health"], json={"drain_only": True}, headers=secret)

    def list_holds(self) -> list[str]:
        """What holds every release now (hangar.find_release_hold): a pause, or an open alert of one of these kinds."""
        rows = self.sql(
            "select 'paused' from hangar.settings where paused union all"
            " select 'deletes_paused' from hangar.settings where deletes_paused union all"
            " select kind || ': ' || message from hangar.alerts where resolved_at is null"
            " and kind in ('installation', 'fly_unreachable', 'fly_refused', 'brake', 'incident')"
        )
        return [hold for (hold,) in rows]

    def clear_holds(self) -> None:
        """Nothing holds a release: no pause and no alert, and no app of an earlier test raises one again."""
        self.fault()
        self.sql("update hangar.settings set paused = false, deletes_paused = false, brake_released_at = now()")
        self.sql(
            "update public.user_fly_apps set health_status = 'healthy', bad_samples = 0"
            " where deleted_at is null and (health_status = 'unhealthy' or bad_samples > 0)"
        )
        self.sql(
            "select public.fly_resolve_alert(kind, key) from hangar.alerts where resolved_at is null"
            " and kind in ('installation', 'fly_unreachable', 'fly_refused', 'brake', 'incident')"
        )
        assert self.list_holds() == []

    def explain_release(self) -> str:
        """What `hangar release status` knows of the newest release: for the message of a test that waited in vain."""
        [(release,)] = self.sql("select coalesce(max(id), 0) from hangar.releases")
        if not release:
            return "There is no release."
        [(state, held_by, reason)] = self.sql(
            "select state, held_by, reason from hangar.releases where id = %s", release
        )
        targets = self.sql(
            "select a.fly_app_name, t.wave, t.state, t.reason_code, t.reason, a.status, a.error_code,"
            " a.observed_generation, a.generation, a.lease_holder"
            " from hangar.release_targets t join public.user_fly_apps a on a.id = t.row_id"
            " where t.release_id = %s order by t.place limit 5",
            release,
        )
        return f"Release {release} is {state}, held by {held_by}, {reason}; holds now: {self.list_holds()}; targets: {targets}"

    def actors(self, person: Person, event_type: str) -> list[str | None]:
        """The actors of this user's events of one type."""
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
def _local_cloud(tmp_path_factory, _postgres_servers) -> Iterator[Cloud]:
    database_url = fresh_database(_postgres_servers("clouds"))
    with (
        LocalCloud(tmp_path_factory.mktemp("cloud"), database_url=database_url) as cloud,
        httpx.Client(timeout=30) as http,
    ):
        yield Cloud(cloud.addresses, http)


@pytest.fixture
def cloud(_local_cloud) -> Iterator[Cloud]:
    """The cloud. Faults of Fly are removed after the test."""
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
class ConsoleErrors:
    """The errors that the browser logged, and those that a test expects."""

    logged: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def expect(self, pattern: str) -> None:
        """Accept errors that match `pattern` from now on."""
        self.expected.append(pattern)

    @property
    def unexpected(self) -> list[str]:
        return [text for text in self.logged if not any(re.search(pattern, text) for pattern in self.expected)]


@pytest.fixture
def console_errors() -> Iterator[ConsoleErrors]:
    found = ConsoleErrors()
    yield found
    assert found.unexpected == []


@pytest.fixture
def open_context(browser, console_errors) -> Iterator[Callable[..., BrowserContext]]:
    """Open another browser profile, for example of a second person."""
    opened: list[BrowserContext] = []

    def listen(page: Page) -> None:
        page.on("console", lambda message: message.type == "error" and console_errors.logged.append(message.text))
        page.on("pageerror", lambda error: console_errors.logged.append(str(error)))

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
    """A page in a new browser profile."""
    return open_context().new_page()


@pytest.fixture
def sign_in(cloud) -> Callable[..., Page]:
    """Sign in with the form, by default as the local operator. The page then shows the fleet."""

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
