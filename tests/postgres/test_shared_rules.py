"""Rules that SQL and Python both need: each test compares the two, so that a change on one side alone fails."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from shared.domain.actions import ActionKind
from shared.domain.backoff import ATTEMPTS_A_ROUND
from shared.domain.cost import SECONDS_PER_MONTH
from shared.domain.decide import UNKNOWN_CREATE
from shared.domain.drift_text import MOST_REPAIRS
from shared.domain.event_types import EVENT_STATUSES, EVENT_TYPES
from shared.domain.regions import allows, expand, explain_refused_region, list_words, normalise_region
from shared.fly.retry import RetryPolicy
from shared.reconcile.result import REFUSALS

# Refusals that the loop handles itself: it decides again ("stale", "entitled", "removal_hold"), waits for a slot ("rate"), or
# ends a repeated restart.
OTHER_REFUSALS = {"stale", "entitled", "removal_hold", "rate", "restarted"}
MIGRATIONS = sorted((Path(__file__).parents[2] / "supabase" / "migrations").glob("*.sql"))


@pytest.fixture
def session(database, connect):
    return connect(database)


def source_of(session, *names):
    """The bodies of these functions."""
    found = session.execute(
        "select p.proname, p.prosrc from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname in ('hangar', 'public') and p.proname = any(%s)",
        [list(names)],
    ).fetchall()
    assert {name for name, _ in found} == set(names)
    return "\n".join(body for _, body in found)


def checked_values(session, table, column):
    """The texts that a CHECK constraint on this column allows."""
    [(definition,)] = session.execute(
        "select pg_get_constraintdef(c.oid) from pg_constraint c"
        " where c.conrelid = %s::regclass and c.contype = 'c' and c.conname = %s",
        [table, f"{table.rpartition('.')[2]}_{column}_check"],
    ).fetchall()
    return set(re.findall(r"'(\w+)'", definition))


def test_an_unknown_create_expires_after_the_same_time(session):
    """The database clears `create_unknown_at` when Python no longer waits for it."""
    [seconds] = re.findall(r"create_unknown_at <= v_now - interval '(\d+) seconds'", source_of(session, "apply_facts"))
    assert timedelta(seconds=int(seconds)) == UNKNOWN_CREATE


def test_a_month_has_the_same_seconds():
    """Views and pages multiply a price per second by it."""
    used = {int(number) for path in MIGRATIONS for number in re.findall(r"\* (\d{7})\b", path.read_text())}
    assert used == {SECONDS_PER_MONTH}


def test_dashboard_and_command_line_filter_by_every_event_type_and_status(session):
    assert set(EVENT_TYPES) == checked_values(session, "public.user_fly_app_events", "event_type")
    assert set(EVENT_STATUSES) == checked_values(session, "public.user_fly_app_events", "status")


def test_every_refusal_of_the_database_has_a_sentence(session):
    """And the loop has no sentence for a refusal that the database never gives."""
    body = source_of(session, "check_intent", "check_caps")
    given = set(re.findall(r"(?:return|then) '(\w+)'", body)) | {"stale"}
    assert given == REFUSALS.keys() | OTHER_REFUSALS


def test_the_actions_that_the_database_guards_exist(session):
    """A renamed action would pass every guard."""
    guarded = set(re.findall(r"'(\w+_(?:machine|app))'", source_of(session, "check_intent", "brake_status")))
    assert guarded >= {"stop_machine", "destroy_machine", "delete_app", "create_app", "restart_machine"}
    assert guarded <= {kind.value for kind in ActionKind}


def test_a_round_has_as_many_attempts_as_the_client_makes():
    """The backoff doubles once per round; a round is one call with its retries."""
    assert len(RetryPolicy().waits_s) + 1 == ATTEMPTS_A_ROUND


def test_the_words_for_regions_are_the_same(session):
    """shared/domain/data/fly_regions.json is the owner; the database checks plans and settings by the same words."""
    assert tuple(session.execute("select hangar.region_words()").fetchone()[0]) == list_words()


@pytest.mark.parametrize(
    "given", ["sin", " SIN ,nrt,, sin", "yul", "eu,any,usa", "", ",", "sin nrt", "EU\t,\nYUL,x", "sin,\u00a0nrt"]
)
def test_a_list_of_regions_is_read_in_the_same_way(session, given):
    [(stored, refused)] = session.execute(
        "select hangar.normalise_region(%s), hangar.explain_refused_region(%s)", (given, given)
    ).fetchall()
    assert (stored, refused) == (normalise_region(given), explain_refused_region(given))


def test_a_word_stands_for_the_same_regions(session):
    """Which machine is outside its list is judged by the functions and by the database."""
    for word in list_words():
        [(regions,)] = session.execute("select hangar.expand_region(%s)", (word,)).fetchall()
        assert frozenset(regions) == expand(word)


@pytest.mark.parametrize("preference", ["sin", "nrt, SIN", "eu", "hkg,us", "any", "sa,jnb"])
def test_a_list_allows_the_same_regions(session, preference):
    for region in (*list_words(), "bom"):
        [(allowed,)] = session.execute("select hangar.region_allows(%s, %s)", (preference, region)).fetchall()
        assert allowed == allows(preference, region), region


def test_both_sides_give_up_repairing_drift_after_as_many_tries(hangar):
    assert hangar.sql("select hangar.most_drift_repairs() as most") == [{"most": MOST_REPAIRS}]
