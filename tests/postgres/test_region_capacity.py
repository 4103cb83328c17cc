"""Which regions had no room a while ago: what is remembered, for whom, and for how long."""

import pytest

from tests.postgres.app_rows import ago, insert


def find(hangar, full, region="iad", kind="shared", message="no room"):
    found = f'{{"region": "{region}", "full": {str(full).lower()}, "message": "{message}"}}'
    hangar.sql("select hangar.record_region_capacity(%s, %s::jsonb)", kind, found)


def known(hangar):
    rows = hangar.sql(
        "select region, size_kind, message, round(extract(epoch from until - hangar.now()) / 60)::int as left_min,"
        " extract(epoch from hangar.now() - full_since)::int / 60 as since_min from hangar.region_capacity order by 1, 2"
    )
    return [tuple(row.values()) for row in rows]


def full(hangar, kind="shared"):
    return [each["region"] for each in hangar.one("select hangar.full_regions_json(%s)", kind)]


def test_a_full_region_is_remembered_for_a_quarter_of_an_hour_for_its_kind_of_size(inside):
    find(inside, full=True)
    assert known(inside) == [("iad", "shared", "no room", 15, 0)]
    assert (full(inside), full(inside, "performance")) == (["iad"], [])


@pytest.mark.parametrize(("left_s", "since_min"), [(60, 20), (-60, 0)])
def test_a_region_that_is_full_again_is_full_since_the_first_answer_that_still_counts(inside, left_s, since_min):
    insert(
        inside,
        "hangar.region_capacity",
        region="iad",
        size_kind="shared",
        full_since=ago(1205),
        until=ago(-left_s),
        message="old",
    )
    find(inside, full=True, message="new")
    assert known(inside) == [("iad", "shared", "new", 15, since_min)]


def test_a_memory_that_has_ended_is_not_shown(inside):
    insert(inside, "hangar.region_capacity", region="iad", size_kind="shared", until=ago(1))
    insert(inside, "hangar.region_capacity", region="sin", size_kind="shared", until=ago(-1))
    assert full(inside) == ["sin"]


def test_a_region_with_room_is_forgotten_for_its_kind_of_size_only(inside):
    for kind in ("shared", "performance"):
        for region in ("iad", "sin"):
            find(inside, full=True, region=region, kind=kind)
    find(inside, full=False)
    assert (full(inside), full(inside, "performance")) == (["sin"], ["iad", "sin"])
    inside.sql("select hangar.record_region_capacity('shared', '{\"region\": \"sin\"}')")
    assert full(inside) == ["sin"]


def test_the_first_unknown_region_of_a_list_is_named(inside):
    """In the order of the list, whatever the order of the alphabet."""
    assert inside.one("select hangar.explain_refused_region('sin,zzz,aaa')").startswith("region 'zzz' does not exist")
    assert inside.one("select hangar.normalise_region('nrt, SIN,iad,nrt')") == "nrt,sin,iad"
    assert inside.one("select hangar.region_allows(' SIN, Eu', 'ams') and not hangar.region_allows('sin', null)")
