"""Which marks a consumer takes, and which it leaves. Each guard alone."""

import uuid

from tests.postgres.app_rows import insert

USERS = [uuid.UUID(int=number) for number in range(1, 5)]


def mark(hangar, *users, seen=False):
    for user in users:
        insert(hangar, "hangar.marks", user_id=user, seen=seen)


def left(hangar, seen=False):
    rows = hangar.sql("select user_id from hangar.marks where seen = %s order by 1 nulls first", seen)
    return [row["user_id"] for row in rows]


def test_a_consumer_takes_each_user_once_and_knows_whether_one_means_everybody(inside):
    for users, everybody in (
        ([USERS[1], USERS[0], USERS[1]], False),
        ([USERS[0], None], True),
        ([None], True),
        ([], False),
    ):
        mark(inside, *users)
        [taken] = inside.sql("select * from hangar.take_marks(10)")
        assert (taken["users"], taken["everybody"]) == (sorted({each for each in users if each}), everybody), users
        assert left(inside) == []


def test_a_claim_takes_the_marks_of_its_user_only(inside):
    mark(inside, USERS[0], USERS[1], None)
    [taken] = inside.sql("select * from hangar.take_marks(10, %s)", USERS[0])
    assert (taken["users"], taken["everybody"], left(inside)) == ([USERS[0]], False, [None, USERS[1]])


def test_a_consumer_takes_at_most_so_many(inside):
    mark(inside, *USERS)
    [taken] = inside.sql("select * from hangar.take_marks(3)")
    assert (len(taken["users"]), len(left(inside))) == (3, 1)


def test_a_sync_continues_with_the_users_that_it_has_found_itself(inside):
    """A change that was marked meanwhile keeps its mark."""
    mark(inside, USERS[3])
    mark(inside, USERS[2], USERS[0], USERS[1], seen=True)
    assert inside.one("select hangar.take_seen_marks(%s, 1)", USERS[0]) == [USERS[1]]
    assert (left(inside), left(inside, seen=True)) == ([USERS[3]], [USERS[0], USERS[2]])
    assert inside.one("select hangar.take_seen_marks(%s, 5)", USERS[2]) == []
    assert inside.one("select hangar.take_seen_marks(null, null)") == [USERS[0], USERS[2]]
    assert (left(inside), left(inside, seen=True)) == ([USERS[3]], [])
