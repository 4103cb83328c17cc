"""The judgements of `hangar doctor`, without a database or a network."""

import base64
import re
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from shared.doctor.checks import DATABASE, OUTSIDE, guard, ok
from shared.doctor.examine import read_database
from shared.doctor.fly_checks import judge_expiry, judge_regions
from shared.doctor.function_checks import FUNCTIONS, judge_code, judge_refusal
from shared.doctor.groups import Group, run_groups
from shared.doctor.installation_checks import check_functions_url, judge_clocks, judge_prices
from shared.doctor.surroundings import Surroundings
from shared.domain.cost import newest_price_list
from shared.domain.errors import TransientError
from shared.observability.code_version import fingerprint_code

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "doctor.md").read_text()


def test_the_page_explains_every_check_and_no_other():
    """Each check has a row with what it means and what to do, in the order of the code."""
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
    assert [name for name, _, _ in rows] == [*OUTSIDE, *DATABASE]


def test_a_check_that_raises_is_not_checked_and_hides_the_text():
    """The text of an unexpected error may hold a key. Checks made before it stay."""

    def run():
        yield ok("live", "it is")
        raise RuntimeError("whsec_secret")

    found = guard(["live", "paused"], run)
    assert [(check.name, check.state) for check in found] == [("live", "ok"), ("paused", "warning")]


def test_groups_run_at_the_same_time_and_what_hangs_is_named():
    """Checks made before a group hangs stay, and nobody waits longer for it than for the others."""
    hangs, meets = threading.Event(), threading.Barrier(2, timeout=5)

    def stuck():
        yield ok("live", "it is")
        hangs.wait(20)
        yield ok("paused", "never reached in time")

    def meet(name):
        meets.wait()
        return [ok(name, "both run")]

    groups = [
        Group(("live", "paused"), stuck),
        Group(("brake",), lambda: meet("brake")),
        Group(("caps",), lambda: meet("caps")),
    ]
    began = time.monotonic()
    found = {check.name: check for check in run_groups(groups, patience_s=0.5)}
    assert time.monotonic() - began < 5
    hangs.set()
    assert [found[name].state for name in ("live", "brake", "caps")] == ["ok"] * 3
    assert (found["paused"].state, found["paused"].was_made) == ("warning", False)
    assert "0.5 s" in found["paused"].found


NOW = datetime(2026, 11, 27, tzinfo=UTC)


def pack(value):
    """The MessagePack of whole numbers, bytes and lists, as a token holds them."""
    if isinstance(value, int):
        return bytes([value]) if 0 <= value < 128 else b"\xcf" + value.to_bytes(8, "big")
    if isinstance(value, bytes):
        return b"\xc4" + bytes([len(value)]) + value
    return bytes([0x90 + len(value)]) + b"".join(pack(each) for each in value)


def token(*caveats):
    return (
        "fm2_" + base64.b64encode(pack([[b"kid", b"rnd"], b"https://api.fly.io/v1", list(caveats), b"tail"])).decode()
    )


def window(days):
    return [0, int((NOW + timedelta(days=days)).timestamp())]


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (token(0, [7, 31], 4, window(400)), "ok"),
        (token(0, [7, 31]), "ok"),
        (token(4, window(13)), "warning"),
        (token(4, window(-1)), "wrong"),
        ("FlyV1 " + token(4, window(400)) + "," + token(4, window(-1)), "wrong"),
        (token(13, [[4, window(-1)], 0]), "wrong"),
        ("fo1_opaque", "warning"),
        ("fm2_!!!", "warning"),
        ("fm2_" + base64.b64encode(b"\xdd\xff\xff\xff\xff").decode(), "warning"),
        ("fm2_" + base64.b64encode(b"\x91" * 5000).decode(), "warning"),
        (token(4, [0, 2**62]), "warning"),
    ],
    ids=[
        "later",
        "no end",
        "soon",
        "ended",
        "one part ended",
        "nested",
        "old form",
        "not base64",
        "cut",
        "deep",
        "too late",
    ],
)
def test_the_end_of_a_token_is_read_from_the_token(text, state):
    """Whatever the token looks like: an end that cannot be read is never ok, and nothing raises."""
    check = judge_expiry(text, NOW, "acme")
    assert check.state == state
    assert text not in check.found + str(check.remedy)


@pytest.mark.parametrize(
    ("status", "challenge", "says"),
    [
        (401, "Hangar", None),
        (401, "Bearer", "platform"),
        (403, "", "platform"),
        (404, "", "no function"),
        (302, "", "leads elsewhere"),
        (503, "", "broken"),
        (200, "", "accepted"),
        (405, "", "not Hangar's"),
    ],
)
def test_only_hangars_own_refusal_of_a_wrong_signature_is_right(status, challenge, says):
    """Every other answer says what stands at that URL."""
    found = judge_refusal(status, challenge)
    assert found is None if says is None else says in found


def test_a_price_list_of_half_a_year_is_old():
    """The list counts from the day that it names."""
    since = newest_price_list(NOW.date())
    assert judge_prices(since + timedelta(days=180)).state == "ok"
    assert judge_prices(since + timedelta(days=181)).state == "warning"
    assert judge_prices(date(2001, 1, 1)).state == "warning"


@pytest.mark.parametrize(
    ("found", "state", "says"),
    [
        ({"provision": "a1", "health": "a1"}, "ok", "a1"),
        ({"provision": "b2", "health": "b2"}, "warning", "another version"),
        ({"provision": "a1", "health": "b2"}, "warning", "half-way"),
        ({"provision": None, "health": None}, "warning", "does not say so"),
        ({"provision": None, "health": "a1"}, "warning", "half-way"),
        ({}, "warning", "not checked"),
    ],
)
def test_functions_that_run_other_code_are_named(found, state, says):
    """Each with its code. A function of a version that does not say which code it runs is another version."""
    check = judge_code(found, "a1")
    assert (check.state, says in check.found) == (state, True)
    assert all(name in check.found for name in found)


def test_code_is_known_by_the_content_of_its_files(tmp_path):
    """Not by times, bytecode or files beside the packages; but by every byte, name and folder in them."""

    def copy(name, **files):
        content = {"shared/a.py": "a", "functions/b.html": "b", **files}
        for path, text in content.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return fingerprint_code(tmp_path / name)

    first = copy("first")
    assert copy("same", **{"ops/c.py": "c", "shared/__pycache__/a.cpython-311.pyc": "x"}) == first
    others = [{"shared/a.py": "A"}, {"functions/b.html": ""}, {"shared/c.py": ""}, {"functions/static/d": "d"}]
    assert len({first, *(copy(f"other {number}", **files) for number, files in enumerate(others))}) == 5


@pytest.mark.parametrize(
    ("here", "vault", "state"),
    [
        ("https://a.test/x", "https://A.test:443/x/", "ok"),
        ("https://a.test/x", "https://b.test/x", "warning"),
        ("https://a.test/x", "http://a.test/x", "warning"),
        ("https://a.test/x", "https://user:hunter2@b.test/x?key=hunter2", "warning"),
        ("https://a.test/x", None, "warning"),
        (None, "https://a.test/x", "warning"),
    ],
)
def test_other_urls_of_the_functions_than_in_vault_are_named(here, vault, state):
    """The same place may be written in several ways. What may be a credential is not shown."""
    surroundings = Surroundings("https://p.supabase.co", "sb_secret_x", functions={"health": here} if here else {})
    probes = {name: {"url": vault if name == "health" else "https://a.test/other"} for name in FUNCTIONS}
    check = check_functions_url(surroundings, probes)
    assert check.state == state
    assert "hunter2" not in check.found
    assert ("https://b.test/x" in check.found) == ("b.test" in (vault or ""))


@pytest.mark.parametrize("lead_s", [-31, 31])
def test_a_clock_that_differs_by_more_than_30_s_is_named(lead_s):
    """Each clock is compared with the database's, in both directions."""
    lead, none = timedelta(seconds=lead_s), timedelta(0)
    assert judge_clocks(NOW, NOW, [NOW], none).state == "ok"
    assert "this machine" in judge_clocks(NOW, NOW + lead, [NOW], none).found
    assert "functions" in judge_clocks(NOW, NOW, [NOW, NOW + lead], none).found
    assert "Fly" in judge_clocks(NOW, NOW, [NOW], lead).found
    assert judge_clocks(NOW, NOW, [], None).state == "warning"


def test_regions_that_fly_closes_or_sells_are_named():
    """A region that is missing from Fly's list is wrong. Aliases are no regions and are not looked for."""
    rows = [{"code": "sin"}, {"code": "old", "deprecated": True}, {"code": "gru", "requires_paid_plan": True}]
    states = {word: judge_regions([word], rows).state for word in ("sin", "old", "gru", "eu", "apac", "zzz")}
    assert states == {"sin": "ok", "old": "warning", "gru": "warning", "eu": "ok", "apac": "ok", "zzz": "wrong"}


def test_a_database_that_cancels_the_call_is_asked_for_each_check():
    """A large host: one check that takes too long is not checked, and the others are made."""

    def rpc(_name, args):
        if not args:
            raise TransientError("too long", code="57014")
        if args["p_only"] == ["tiers"]:
            raise TransientError("too long", code="57014")
        made = [{"name": name, "state": "ok", "found": "", "remedy": None} for name in args["p_only"]]
        return {"checks": made, "settings": {}}

    checks, facts = read_database(rpc)
    states = {check.name: check.state for check in checks}
    assert facts == {"checks": [], "settings": {}}
    assert states.pop("tiers") == "warning"
    assert set(states) == {"database", *DATABASE} - {"tiers"}
    assert set(states.values()) == {"ok"}
