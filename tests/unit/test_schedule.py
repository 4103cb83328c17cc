"""How the tests are shared among the workers of pytest-xdist."""

import pytest

from tests.support.schedule import name_group


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tests/browser/test_live.py::test_a", "tests/browser/test_story.py::test_b"),
        ("tests/http/test_admin_pages.py::test_a", "tests/http/test_admin_access.py::test_b[x]"),
        ("tests/http/test_canary.py::test_a", "tests/http/test_canary.py::test_b"),
        ("tests/postgres/test_rate.py::test_a[system]", "tests/postgres/test_sync.py::test_b[system-x]"),
    ],
)
def test_tests_with_a_costly_fixture_in_common_go_to_one_worker(one, other):
    assert name_group(one) == name_group(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tests/simulation/test_storm.py::test_a[1]", "tests/simulation/test_storm.py::test_a[2]"),
        ("tests/incidents/test_supabase.py::test_a", "tests/incidents/test_supabase.py::test_b"),
        ("tests/postgres/test_rate.py::test_a[system]", "tests/postgres/test_rate.py::test_a[default]"),
        ("tests/http/test_canary.py::test_a", "tests/http/test_replay.py::test_a"),
    ],
)
def test_tests_that_share_nothing_costly_may_run_side_by_side(one, other):
    assert name_group(one) != name_group(other)
