"""The dashboard's pure parts: banners, charts, cursors, CSV, sealed cookies, words."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from functions.admin.actions.offers import offer_actions, specialise
from functions.admin.actions.registry import ACTIONS
from functions.admin.actions.request import suggest_plan
from functions.admin.auth.session import CookieSealer, Session, make_session
from functions.admin.pages.fleet import add_up
from functions.admin.pagination import read_cursor, write_cursor
from functions.admin.views.alerts import describe_handling
from functions.admin.views.banners import SWEEP_IS_LATE_S, list_banners
from functions.admin.views.charts import HEIGHT, WIDTH, draw_costs, draw_health
from functions.admin.views.render import format_money, format_value, shorten_image, show_moment, summarise_event
from shared.domain.csv_text import write_csv
from shared.domain.moments import format_day, format_moment, format_second

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
SOUND = {
    "settings": {"paused": False, "deletes_paused": False, "live": True},
    "brake": None,
    "alerts": [],
    "sweep": {"under_way": False, "completed_at": NOW.isoformat()},
}


def ago(seconds):
    return (NOW - timedelta(seconds=seconds)).isoformat()


def titles(**frame):
    return [banner.title for banner in list_banners({**SOUND, **frame}, NOW)]


def test_no_banner_is_shown_while_nothing_needs_attention():
    assert titles() == []


@pytest.mark.parametrize(
    ("sweep", "title"),
    [
        (None, ["No sweep yet"]),
        ({"under_way": True, "completed_at": None}, []),
        ({"under_way": False, "completed_at": None}, ["No complete sweep yet"]),
        ({"under_way": False, "completed_at": ago(SWEEP_IS_LATE_S)}, []),
        ({"under_way": False, "completed_at": ago(SWEEP_IS_LATE_S + 1)}, ["The sweep is overdue"]),
        ({"under_way": True, "completed_at": ago(SWEEP_IS_LATE_S + 1)}, []),
    ],
)
def test_a_sweep_is_overdue_after_ten_minutes(sweep, title):
    assert titles(sweep=sweep) == title


def test_the_most_urgent_banner_is_first_and_every_alert_has_a_title():
    alerts = [{"kind": kind, "key": "k", "message": "m"} for kind in ("nudges", "brake", "made_up", "installation")]
    settings = {**SOUND["settings"], "paused": True}
    brake = {
        "tripped": True, "why": "many", "destroyed_last_hour": 20, "most": "20.00", "waiting_apps": 3, "lost_apps": 0,
    }  # fmt: skip
    assert titles(alerts=alerts, settings=settings, brake=brake) == [
        "Paused", "The brake is on", "Installation mismatch", "Webhook calls are not arriving", "Made up",
    ]  # fmt: skip


def test_an_unreachable_fly_is_shown_with_its_duration():
    alert = {"kind": "fly_unreachable", "key": "listing", "message": "Fly could not be listed.", "opened_at": ago(600)}
    [banner] = list_banners({**SOUND, "alerts": [alert]}, NOW)
    assert banner.text == "For 10 min; the next sweep tries again. Fly could not be listed."


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a_b", "a_b"),
        ({"memory_mb": 512, "image": None}, "memory mb 512, image none"),
        (["a", True], "a, yes"),
        ({}, "nothing"),
        (0, "0"),
    ],
)
def test_metadata_of_an_event_is_shown_in_words(value, words):
    assert format_value(value) == words


def test_the_summary_of_an_event_is_not_json():
    metadata = {"from": {"memory_mb": 512}, "to": {"memory_mb": 1024}}
    event = {"event_type": "desired_changed", "fly_app_name": "a", "error_details": None, "metadata": metadata}
    assert summarise_event(event) == "from memory mb 512; to memory mb 1024"


def test_a_retry_is_not_offered_while_a_worker_holds_the_lease():
    row = {"status": "error", "desired_state": "present", "machine_state": None, "lease_expires_at": ago(-1)}
    state = {"row": row, "override": None, "now": NOW.isoformat()}
    assert [spec.name for spec in offer_actions(state)] == ["check", "deprovision"]
    row["lease_expires_at"] = ago(1)
    assert [spec.name for spec in offer_actions(state)] == ["retry", "check", "deprovision"]


def test_a_cost_chart_fills_its_frame():
    days = [{"day": f"2026-11-{day:02}", "usd": usd} for day, usd in enumerate(["0", "0.10", "0.20"], 1)]
    chart = draw_costs(days)
    assert [bar.height for bar in chart["bars"]] == [0, (HEIGHT - 4) / 2, HEIGHT - 4]
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH and bar.y + bar.height <= HEIGHT for bar in chart["bars"])
    assert (chart["total"], chart["most"]) == (Decimal("0.30"), Decimal("0.20"))
    assert [bar.height for bar in draw_costs([{"day": "2026-11-01", "usd": "0"}])["bars"]] == [0]
    assert draw_costs([])["bars"] == []


def make_user(turns=(), created=30, health="healthy"):
    row = {"created_at": ago(86400 * created), "health_status": health}
    return {"health_from": ago(86400 * 10), "row": row, "last": None, "health": list(turns)}


def test_a_health_strip_has_no_gap_and_no_overlap():
    turns = [
        {"at": ago(86400 * 5), "from": "healthy", "to": "unhealthy"},
        {"at": ago(86400 * 2), "from": "unhealthy", "to": "healthy"},
    ]
    spans = draw_health(make_user(turns, created=8), NOW)["spans"]
    assert [span.tone for span in spans] == ["none", "healthy", "unhealthy", "healthy"]
    assert [round(span.width / WIDTH * 10, 1) for span in spans] == [2, 3, 3, 2]
    ends = [span.x + span.width for span in spans]
    assert [round(span.x) for span in spans[1:]] == [round(end) for end in ends[:-1]]
    assert round(ends[-1]) == WIDTH


def test_a_health_strip_without_turns_is_what_the_row_says():
    [span] = draw_health(make_user(health="unhealthy"), NOW)["spans"]
    assert (span.tone, span.x, span.width) == ("unhealthy", 0, WIDTH)
    assert draw_health({**make_user(), "row": None}, NOW)["spans"][0].tone == "unknown"


def test_a_health_strip_ends_with_the_app():
    """After the deletion there is no app, and nothing was healthy."""
    gone = {**make_user(created=30)["row"], "deleted_at": ago(86400 * 4)}
    spans = draw_health({**make_user(), "row": None, "last": gone}, NOW)["spans"]
    assert [(span.tone, round(span.width / WIDTH * 10, 1)) for span in spans] == [("healthy", 6), ("none", 4)]
    gone["deleted_at"] = ago(86400 * 20)
    [span] = draw_health({**make_user(), "row": None, "last": gone}, NOW)["spans"]
    assert (span.tone, span.width, span.label[:11]) == ("none", WIDTH, "no app from")


def test_every_moment_is_shown_in_utc_whatever_zone_the_database_answers_in():
    """`alter database … set timezone` must not turn a time of day into another one that is called UTC."""
    there = "2026-11-25T22:30:00-08:00"
    assert (format_moment(there), format_day(there)) == ("2026-11-26 06:30 UTC", "2026-11-26")
    assert format_second(there) == "2026-11-26 06:30:00"
    assert 'title="2026-11-26 06:30:00 UTC"' in show_moment(there, NOW)
    handling = {"state": "snoozed", "until": there, "actor": "a", "reason": None}
    assert describe_handling(handling) == "Snoozed until 2026-11-26 06:30 UTC by a"


@pytest.mark.parametrize("place", [["2026-11-26T03:00:00+00:00", "11111111-1111-4111-8111-111111111111"], ["ä/+=", ""]])
def test_a_cursor_is_read_as_it_was_written(place):
    assert read_cursor(write_cursor(place)) == place
    assert write_cursor(None) is None


@pytest.mark.parametrize("word", ["", "x", "....", "é", "e30", "W10", "WzEsMl0", "bnVsbA", "W" * 5000])
def test_text_that_is_not_a_cursor_gives_the_first_page(word):
    assert read_cursor(word) is None


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x"]
)
def test_no_csv_cell_is_a_formula(text):
    lines = "".join(write_csv(["a"], [{"a": text}, {"a": None}, {"a": "plain"}]))
    assert f"'{text}" in lines
    assert lines.startswith("a\r\n")
    assert lines.endswith("plain\r\n")


def make_sealer(secret="sb_secret_one"):
    return CookieSealer(SecretStr(secret))


SESSION = Session("session", "user", "a@example.test", 1.0, "access", "refresh")


def test_a_sealed_text_opens_only_for_its_purpose_and_key():
    sealed = make_sealer().seal("session", {"a": "ä" * 3000})
    assert make_sealer().unseal("session", sealed) == {"a": "ä" * 3000}
    assert len(sealed) < 400
    assert make_sealer().unseal("flow", sealed) is None
    assert make_sealer("sb_secret_two").unseal("session", sealed) is None
    assert sealed != make_sealer().seal("session", {"a": "ä" * 3000})
    for broken in (
        sealed[:-2],
        sealed[1:],
        "",
        "é",
        "AAAA",
        f"A{sealed[1:]}" if sealed[0] != "A" else f"B{sealed[1:]}",
    ):
        assert make_sealer().unseal("session", broken) is None


def test_a_form_proof_belongs_to_one_session_and_survives_a_refresh():
    proof = make_sealer().make_form_proof(SESSION)
    renewed = Session("session", "user", "a@example.test", 9.0, "new", "new")
    other = Session("other", "user", "a@example.test", 1.0, "access", "refresh")
    assert make_sealer().is_form_proof(renewed, proof)
    assert not make_sealer().is_form_proof(other, proof)
    assert not make_sealer("sb_secret_two").is_form_proof(SESSION, proof)
    assert not make_sealer().is_form_proof(SESSION, "")


def test_the_repr_of_a_session_contains_no_token():
    assert "access" not in repr(SESSION)
    assert "refresh" not in repr(SESSION)
    user = SimpleNamespace(id="u", email=None)
    tokens = SimpleNamespace(access_token="t", refresh_token="r", expires_at=5, user=user)
    assert make_session(tokens).email == "u"
    assert make_session(tokens, "kept").session_id == "kept"


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ({"row": None, "override": None}, ["provision"]),
        ({"row": None, "override": {"override": "deny"}}, ["provision", "remove-override"]),
        ({"row": ("active", "present", "started"), "override": None}, ["check", "restart", "deprovision"]),
        (
            {"row": ("active", "present", "stopped"), "override": {"override": "grant"}},
            ["check", "deprovision", "remove-override"],
        ),
        ({"row": ("error", "present", None), "override": None}, ["retry", "check", "deprovision"]),
        ({"row": ("deprovisioning", "absent", "started"), "override": None}, ["keep", "check"]),
        ({"row": ("error", "absent", "started"), "override": None}, ["keep", "retry", "check"]),
    ],
)
def test_a_page_offers_the_actions_that_make_sense(state, names):
    if state["row"]:
        shown = dict(zip(("status", "desired_state", "machine_state"), state["row"], strict=True))
        state = state | {"row": shown | {"fly_app_name": "a", "tier": "pro"}}
    state = {"subscription": None, "plans": ["pro"], **state}
    assert [spec.name for spec in offer_actions(state)] == names


DESTROYED = "the app a-1 and all its data are destroyed"


@pytest.mark.parametrize(
    ("subscription", "words"),
    [
        (None, f"The subscription does not entitle the user to an app: {DESTROYED}"),
        (
            {"tier": "free", "status": "active"},
            f"The subscription does not entitle the user to an app: {DESTROYED}",
        ),
        ({"tier": "pro", "status": "active"}, f"If it does not entitle the user to an app, {DESTROYED}"),
    ],
)
def test_removing_a_grant_that_keeps_an_app_asks_for_the_apps_name(subscription, words):
    row = {"fly_app_name": "a-1", "tier": "pro"}
    state = {"row": row, "override": {"override": "grant"}, "subscription": subscription, "plans": ["pro"]}
    spec = specialise(ACTIONS["remove-override"], state)
    assert words in spec.warning
    assert (spec.tone, spec.asks, spec.needs_reason) == ("bad", ("type_name",), True)
    for harmless in ({"row": None}, {"override": {"override": "deny"}}):
        assert specialise(ACTIONS["remove-override"], state | harmless) is ACTIONS["remove-override"]


def test_keeping_an_app_asks_for_a_plan_only_if_its_own_has_no_app():
    state = {"row": {"tier": "pro"}, "override": None, "subscription": None, "plans": ["small", "pro"]}
    assert specialise(ACTIONS["keep"], state).asks == ()
    assert suggest_plan(state) == "pro"
    state["row"] = {"tier": "free"}
    assert specialise(ACTIONS["keep"], state).asks == ("plan",)
    assert suggest_plan(state) == "small"


def test_destroying_asks_for_the_name_and_holding_back_asks_for_a_reason():
    assert {name for name, spec in ACTIONS.items() if "type_name" in spec.asks} == {"deprovision", "approve-orphan"}
    assert {name for name, spec in ACTIONS.items() if spec.needs_reason} >= {
        "provision",
        "deprovision",
        "pause",
        "release-brake",
    }


def test_figures_are_summed_before_they_are_rounded():
    group = {
        "status": "active", "health": "healthy", "apps": 1, "running": 1, "due": 0, "overdue": 0, "stuck": 0, "drifted": 0,
        "working": 0, "monthly_cost_estimate_usd": "0.004", "monthly_list_price_usd": "0.004",
    }  # fmt: skip
    figures = add_up([group, group | {"health": "unknown"}])
    assert figures["monthly_cost_estimate_usd"] == Decimal("0.008")
    assert (figures["apps"], figures["status"]["active"], figures["health"]["unhealthy"]) == (2, 2, 0)


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (None, "-"),
        ("0", "$0.00"),
        ("0.004", "under $0.01"),
        ("0.005", "$0.01"),
        ("1234567.891", "$1,234,567.89"),
        ("-4.389", "-$4.39"),
    ],
)
def test_money_in_words(amount, words):
    assert format_money(amount) == words


def test_an_image_is_shortened_to_what_identifies_it():
    assert shorten_image("registry.fly.io/acme/backend@sha256:0123456789abcdef") == "backend@01234567"
    assert shorten_image("backend:v1") == "backend:v1"


def test_many_alerts_are_counted_so_that_the_page_below_stays_in_sight():
    """Every alert of a red kind is shown, and of others a few. The rest is one line by kind, which leads to the list."""
    urgent = [{"kind": "fly_refused", "key": str(n), "message": "m"} for n in range(6)]
    others = [{"kind": "crash_loop", "key": str(n), "message": "m"} for n in range(14)]
    counts = {"fly_refused": 6, "crash_loop": 300, "unhealthy": 1200, "brake": 1}
    banners = list_banners({**SOUND, "alerts": urgent + others, "alert_kinds": counts}, NOW)
    assert [banner.title for banner in banners] == [*["Fly refuses the organisation"] * 6, "1,500 more alerts are open"]
    assert banners[-1].text == "An app keeps crashing (300), An app is unhealthy (1,200)."
    assert banners[-1].where == "controls#alerts"
    assert titles(alerts=others, alert_kinds={"crash_loop": 14}) == ["An app keeps crashing"] * 4 + [
        "10 more alerts are open"
    ]
    assert titles(alerts=others[:5]) == ["An app keeps crashing"] * 5
