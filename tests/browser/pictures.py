"""The pictures of the README, taken from the dashboard of a local cloud with a sample fleet (`make pictures`)."""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psycopg
from playwright.sync_api import Browser, sync_playwright

from local.dev.cloud import LocalCloud
from tests.browser.chromium import ARGUMENTS, HOW, find_chromium

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
SETTLE_S = 120
_PEOPLE = 14


def make_fleet(addresses: dict[str, Any]) -> str:
    """Create fourteen users: most pay, one has left, one has an image that Fly does not find. Returns the user to show."""
    with psycopg.connect(addresses["database_url"], autocommit=True) as database, httpx.Client(timeout=60) as http:

        def sql(query: str, *params: Any) -> list[Any]:
            cursor = database.execute(query, params)
            return cursor.fetchall() if cursor.description else []

        def sweep() -> None:
            secret = {"X-Hangar-Secret": addresses["static_secret"]}
            http.post(addresses["functions"]["health"], json={}, headers=secret).raise_for_status()

        def wait_for(count: int, status: str) -> None:
            ends_at = time.monotonic() + SETTLE_S
            query = "select count(*) from public.user_fly_apps where status = %s"
            while sql(query, status)[0][0] < count:
                if time.monotonic() > ends_at:
                    raise TimeoutError(f"fewer than {count} apps are {status} after {SETTLE_S} s")
                time.sleep(0.5)

        sim = addresses["fly_api_url"].removesuffix("/v1") + "/_sim"
        for number in range(_PEOPLE):
            sql(
                "insert into auth.users (id, email, email_confirmed_at) values (%s, %s, now())",
                f"20000000-0000-4000-8000-{number:012d}",
                f"customer-{number + 1:02}@example.test",
            )
        paying = "update public.user_subscriptions set tier = %s where user_id::text like %s"
        sql(paying, "pro", "20000000-0000-4000-8000-%")
        sql(paying, "elite", "20000000-0000-4000-8000-0000000000_1")
        wait_for(_PEOPLE, "active")
        body = {"error": "manifest unknown: image not found"}
        rule = {"method": "POST", "path": "/v1/apps/*/machines", "status": 422, "body": body}
        http.put(f"{sim}/faults", content=json.dumps([rule])).raise_for_status()
        sql(
            "update public.user_subscriptions set tier = 'pro' where user_id = (select user_id from public.user_subscriptions"
            " where tier = 'free' order by user_id limit 1)"
        )
        wait_for(1, "error")
        http.put(f"{sim}/faults", content="[]").raise_for_status()
        sql(paying, "free", "20000000-0000-4000-8000-000000000013")
        wait_for(1, "deleted")
        sweep()
        return "20000000-0000-4000-8000-000000000011"


def take(browser: Browser, addresses: dict[str, Any], user: str) -> None:
    """The fleet in light and dark, one user, the costs."""
    root = addresses["functions"]["admin"]
    for scheme in ("light", "dark"):
        page = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 800}).new_page()
        page.goto(root)
        page.get_by_label("E-mail").fill(addresses["admin"]["email"])
        page.get_by_label("Password").fill(addresses["admin"]["password"])
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.get_by_role("heading", name="Apps").wait_for()
        page.screenshot(path=IMAGES / f"fleet-{scheme}.png")
        if scheme == "light":
            for path, name in ((f"users/{user}", "user"), ("costs", "costs"), ("failures", "failures")):
                page.goto(f"{root}/{path}")
                page.screenshot(path=IMAGES / f"{name}.png")


def main() -> int:
    """Write docs/images. Returns 1 if there is no browser."""
    chromium = find_chromium()
    if chromium is None:
        print(f"hangar: {HOW}", file=sys.stderr)  # noqa: T201  this is a command
        return 1
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder, LocalCloud(Path(folder)) as cloud, sync_playwright() as playwright:
        user = make_fleet(cloud.addresses)
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        take(browser, cloud.addresses, user)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
