"""How the tests are shared among the workers of pytest-xdist."""

from types import SimpleNamespace

import pytest

from tests.support.schedule import name_group, sort_slowest_first


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tests/browser/test_live.py::test_a", "tests/browser/test_story.py::test_b"),
        ("tests/http/test_admin_pages.py::test_a", "tests/http/test_admin_access.py::test_b[x]"),
        ("tests/http/test_canary.py::test_a", "tests/http/test_canary.py::test_b"),
        ("tests/http/test_ops_adopt.py::test_a", "tests/http/test_replay.py::test_b"),
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


def test_what_waits_and_what_computes_are_mixed_and_every_file_keeps_its_order():
    ids = [
        f"tests/{folder}/test_{name}.py::test_{number}"
        for folder in ("simulation", "http", "browser", "unit")
        for name in "abcdefgh"
        for number in (1, 2)
    ]
    ordered = [item.nodeid for item in sort_slowest_first([SimpleNamespace(nodeid=each) for each in ids])]
    folders = [each.split("/")[1] for each in ordered]
    assert (folders[:16], folders[-16:]) == (["browser"] * 16, ["unit"] * 16)
    assert len({tuple(folders[at : at + 8]) for at in (16, 24, 32, 40)}) > 1
    assert set(folders[16:32]) == set(folders[32:48]) == {"http", "simulation"}
    for name in "abcdefgh":
        of_file = [each for each in ordered if each.startswith(f"tests/http/test_{name}.py")]
        assert of_file == sorted(of_file)
