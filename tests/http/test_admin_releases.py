"""What the dashboard shows of releases: the list, one release, a user's page; escaped, paged and without secrets."""

import re
from html import unescape

import pytest

from local.dev.database import ADMIN
from tests.http.admin_visitor import text_of

NEW = "registry.test/team/backend:v2"
HOSTILE = """x"><script>alert(1)</script><img src=x onerror=alert(2)>'{{7*7}}`"""
SECRET = "s3cr3t-value"


def step(operator, name, release, **fields):
    return operator.follow(
        operator.submit(f"actions/{name}?release={release}", **{"reason": f"because {name}", **fields})
    )


@pytest.mark.parametrize(
    ("hold", "words"),
    [
        ("paused", "Hangar is paused"),
        ("fly_unreachable", "Fly does not answer"),
        ("deletes_paused", "deletions are paused"),
        ("new_code", "new code"),
    ],
)
def test_what_holds_a_release_is_said(operator, draft, sql, hold, words):
    release = draft()
    step(operator, "start-release", release)
    sql("update hangar.releases set held_by = %s, held_since = hangar.now() where id = %s", hold, release)
    expected = f"Held because {words}: no app moves until that ends. Then Hangar continues automatically."
    assert expected in text_of(operator.get(f"releases/{release}"))


def test_the_list_shows_state_changes_wave_progress_and_who(operator, draft, sql):
    release = draft(memory_mb="1024")
    step(operator, "start-release", release)
    sql("update hangar.release_targets set state = 'done' where release_id = %s and place = 1", release)
    sql(
        "update hangar.release_targets set state = 'failed', must_go_back = true where release_id = %s and place = 2",
        release,
    )
    row = text_of(operator.get("releases"))
    for words in (
        "rolling",
        "backend:v2",
        "1024 MB",
        "canary, then 3 waves",
        "1 of 6 done, 1 failed",
        ADMIN.email,
        "“a new version”",
    ):
        assert words in row, words


def test_the_bars_say_everything_in_words_too(operator, draft, sql):
    release = draft()
    step(operator, "start-release", release)
    states = (
        "state = 'done'",
        "state = 'applying'",
        "state = 'reverted', reason_code = 'out_of_memory', reason = 'out of memory'",
        "state = 'skipped', reason_code = 'left'",
        "state = 'failed', must_go_back = true, reason_code = 'out_of_memory', reason = 'big'",
    )
    for place, change in enumerate(states, 1):
        sql(
            f"update hangar.release_targets set wave = 0, {change} where release_id = %s and place = %s", release, place
        )
    page = operator.get(f"releases/{release}")
    assert 'aria-label="canary, 5 apps: 1 done, 1 moving, 1 failed, 1 put back, 1 skipped"' in page.text
    text = text_of(page)
    assert "1 app failed The program needs more memory than the machine has: big." in text
    assert "1 app put back The program needs more memory than the machine has: out of memory." in text
    assert "1 app skipped The user is no longer entitled to an app." in text
    assert "out_of_memory" not in text
    only = operator.get(f"releases/{release}?part=reverted")
    assert len(re.findall(r'<tr data-live="app-', only.text)) == 1
    assert len(re.findall(r'<tr data-live="app-', operator.get(f"releases/{release}?code=out_of_memory").text)) == 2


def test_the_apps_of_a_large_release_are_paged(operator, draft, sql):
    release = draft()
    step(operator, "start-release", release)
    sql(
        "with made as (insert into public.user_fly_apps (user_id, fly_app_name, fly_org_slug, network, status, region,"
        " docker_image, tier, deleted_at)"
        " select gen_random_uuid(), 'vyx-gone-' || n, 'x', 'n', 'deleted', 'sin', 'i', 'pro', now()"
        " from generate_series(1, 120) n"
        " returning id, user_id, fly_app_name)"
        " insert into hangar.release_targets (release_id, row_id, user_id, wave, place, state)"
        " select %s, id, user_id, 3, 100 + row_number() over (order by fly_app_name), 'skipped' from made", release,
    )  # fmt: skip
    path, seen = f"releases/{release}?part=skipped", []
    while path:
        page = operator.get(path)
        seen += re.findall(r'<tr data-live="app-([\w-]+)"', page.text)
        following = re.search(r'rel="next" href="\.\./([^"]+)"', page.text)
        path = unescape(following[1]) if following else None
    assert len(seen) == len(set(seen)) == 120
    sql("delete from hangar.release_targets where place >= 100")
    sql("delete from public.user_fly_apps where fly_app_name like 'vyx-gone-%%'")


def test_markup_in_a_release_is_shown_as_text(operator, draft, release_apps, sql):
    release = draft()
    step(operator, "start-release", release)
    sql(
        "update hangar.releases set image = %s, version = %s, why = %s, created_by = %s, state = 'paused', reason = %s,"
        " image_digest = %s, tiers = array[%s] where id = %s", *[HOSTILE] * 7, release,
    )  # fmt: skip
    sql(
        "update hangar.release_targets set reason_code = %s, reason = %s, state = 'failed' where release_id = %s",
        HOSTILE,
        HOSTILE,
        release,
    )
    sql(
        "insert into hangar.user_pins (user_id, image, reason, actor) values (%s, %s, %s, %s)",
        release_apps[0],
        *[HOSTILE] * 3,
    )
    for path in (
        "releases",
        f"releases/{release}",
        f"releases/{release}?code={HOSTILE}",
        f"releases/{release}?part={HOSTILE}",
        f"releases?before={HOSTILE}",
        f"actions/abort-release?release={release}",
        f"users/{release_apps[0]}",
    ):
        page = operator.get(path)
        assert page.status_code == (400 if "part=" in path else 200), path
        assert "<script>alert" not in page.text, path
        assert "<img src=x" not in page.text, path
    assert "&lt;script&gt;alert(1)" in operator.get(f"releases/{release}").text
    refused = operator.submit("actions/create-release", image=HOSTILE, version=HOSTILE, tiers=HOSTILE, reason=HOSTILE)
    assert refused.status_code == 400
    assert "<script>alert" not in refused.text


def test_no_value_of_an_environment_is_on_a_page(operator, release_apps, sql):
    sql(
        "insert into hangar.releases (image, env, created_by) values (%s, jsonb_build_object('API_KEY', %s::text), 'x')",
        NEW,
        SECRET,
    )
    [(release,)] = sql("select max(id) from hangar.releases")
    sql(
        "insert into hangar.user_pins (user_id, env, actor) values (%s, jsonb_build_object('PIN_KEY', %s::text), 'x')",
        release_apps[0],
        SECRET,
    )
    sql("update public.user_fly_apps set env_version = 'x' where user_id = %s", release_apps[0])
    pages = [
        operator.get(path).text for path in ("releases", f"releases/{release}", f"users/{release_apps[0]}", "events")
    ]
    assert SECRET not in "".join(pages)
    assert "API_KEY" in pages[0]
    assert "API_KEY" in pages[1]
    assert "PIN_KEY" in pages[2]


def test_a_users_page_names_release_wave_and_pin(operator, draft, release_apps, sql):
    release = draft()
    user = release_apps[3]
    step(operator, "start-release", release)
    sql(
        "update hangar.release_targets set wave = 1, state = 'verifying' where release_id = %s and user_id = %s",
        release,
        user,
    )
    sql(
        """update public.user_fly_apps set docker_image = %s,
           observed_spec = '{"image": "registry.test/team/backend:v1", "image_digest": "sha256:0123456789ab",
                             "cpu_kind": "shared", "cpu_count": 1, "memory_mb": 512}' where user_id = %s""",
        NEW,
        user,
    )
    sql(
        "insert into hangar.user_pins (user_id, image, reason, actor, ends_at)"
        " values (%s, %s, 'a bug in v2', 'ops', '2999-01-31')",
        user,
        "registry.test/team/backend:v1",
    )
    text = text_of(operator.get(f"users/{user}"))
    assert f"Runs backend:v1@01234567 , should run backend:v2 ; release {release} (rolling), wave 1: verifying." in text
    assert "Image registry.test/team/backend:v1; set by ops: “a bug in v2”, until 2999-01-31 00:00 UTC." in text
    assert f"releases/{release}" in operator.get(f"users/{user}").text


def test_the_page_names_what_a_rollback_has_left(operator, draft, sql):
    release = draft()
    kept = '[{"what": "size", "tier": "pro", "value": "4 shared vCPU, 8192 MB"}]'
    sql("update hangar.releases set state = 'rolled_back', kept = %s where id = %s", kept, release)
    text = text_of(operator.get(f"releases/{release}"))
    assert "Changed since the release was started, so it stays: plan pro, size 4 shared vCPU, 8192 MB." in text


@pytest.mark.parametrize(
    "path",
    [
        *(f"releases/{number}" for number in ("999999", "99999999999999999999", "x", "-1")),
        *(f"actions/start-release?release={number}" for number in ("", "999999", "99999999999999999999", "x")),
    ],
)
def test_an_unknown_release_is_404(operator, path):
    assert operator.get(path).status_code == 404


def test_a_made_up_cursor_or_filter_is_harmless(operator, draft):
    release = draft()
    for query in ("part=none", "colour=red"):
        page = operator.get(f"releases/{release}?{query}")
        assert page.status_code == 400, query
        assert "There is no part “none”. Choose one of " in page.text or "There is no filter “colour”." in page.text
    for query in ("wave=x", "wave=-1", "after=x", "code=%00"):
        assert operator.get(f"releases/{release}?{query}").status_code == 200, query
    assert operator.get(f"releases/{release}?after=WyJhIiwiYiJd").status_code == 400  # ["a", "b"]


def test_an_alert_about_a_release_leads_to_its_page(operator, draft, sql):
    release = draft()
    message = f"Release {release} has paused itself: x. Then `hangar release abort {release}` puts everything back"
    sql("select public.fly_raise_alert('release_failed', %s, %s)", str(release), message)
    try:
        page = operator.get("")
        assert "Then Abort on the release's page puts everything back" in text_of(page)
        assert f'href="./releases/{release}">Release {release}</a>' in page.text
    finally:
        sql("select public.fly_resolve_alert('release_failed', %s)", str(release))


def test_without_a_release_the_list_says_so(operator, no_releases):
    page = operator.get("releases")
    assert "There are no releases yet" in page.text
    assert re.search(r'href="\./releases" aria-current="page">Releases</a>', page.text)


@pytest.mark.slow
def test_every_link_of_a_release_works_and_leads_to_its_users(operator, draft, release_apps, sql):
    """Links of the list, of one release in two states, and of its filters."""
    release = draft()
    seen = set()

    def follow(path):
        page = operator.get(path)
        for link in re.findall(r'href="(\.[^"#]*)', page.text):
            target = str(page.url.join(unescape(link))).removeprefix(f"{operator.url}/")
            if target not in seen:
                seen.add(target)
                assert operator.get(target).status_code in (200, 303), (path, link)

    follow("releases")
    follow(f"releases/{release}")
    step(operator, "start-release", release)
    sql("update hangar.release_targets set state = 'reverted', reason_code = 'out_of_memory' where place = 1")
    follow(f"releases/{release}")
    assert {f"users/{user}" for user in release_apps} <= seen
    assert {
        f"releases/{release}?{query}" for query in ("wave=0", "part=reverted", "part=reverted&code=out_of_memory")
    } <= seen


def test_the_list_is_paged(operator, no_releases, sql):
    sql("insert into hangar.releases (image, created_by) select 'a:' || n, 'x' from generate_series(1, 45) n")
    path, seen = "releases", []
    while path:
        page = operator.get(path)
        seen += [int(number) for number in re.findall(r'<tr data-live="release-(\d+)"', page.text)]
        following = re.search(r'rel="next" href="\./([^"]+)"', page.text)
        path = unescape(following[1]) if following else None
    assert len(seen) == 45
    assert seen == sorted(seen, reverse=True)
    assert "There are no older releases" in operator.get("releases?before=1").text
