"""The list of planted bugs fits the code. Whether the tests catch each bug is what `make mutants` finds out."""

from pathlib import Path

import pytest

from tests.mutants.__main__ import main
from tests.mutants.catalog import BUGS
from tests.mutants.judge import judge, narrow
from tests.mutants.places import Place, Python, Sql, Stale
from tests.mutants.planted import PlantedBug, exactly


def test_every_planted_bug_fits_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Place, pattern and tests of every entry exist; the output names those that are stale."""
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_every_name_is_used_once() -> None:
    names = [bug.name for bug in BUGS]
    assert sorted(set(names)) == sorted(names)


def test_an_unknown_name_is_refused() -> None:
    assert main(["--check", "no-such-bug"]) == 2


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package of two modules and two migrations."""
    package, migrations = tmp_path / "shop", tmp_path / "supabase" / "migrations"
    package.mkdir()
    migrations.mkdir(parents=True)
    (package / "one.py").write_text("LIMIT = 3\n\n\nclass Till:\n    def close(self):\n        return self.sum  # é\n")
    (package / "two.py").write_text("@cache\ndef open_till():\n    if True:\n        return 1\n    return 2\n")
    (migrations / "1_a.sql").write_text("-- About f.\ncreate function shop.f() as $$ select 1; $$;\n")
    (migrations / "2_b.sql").write_text("create policy own on shop.a using (true);\ncreate policy own on shop.b;\n")
    return tmp_path


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Python("shop.one", "LIMIT"), "LIMIT = 3\n"),
        (Python("shop.one", "Till.close"), "    def close(self):\n        return self.sum  # é\n"),
        (Python("shop.one", "open_till"), "@cache\ndef open_till():\n    if True:\n        return 1\n    return 2\n"),
        (Python("shop.gone", "LIMIT"), "LIMIT = 3\n"),
        (Sql("function shop.f"), "create function shop.f() as $$ select 1; $$"),
        (Sql("policy own on shop.b"), "create policy own on shop.b"),
    ],
)
def test_a_place_is_found_by_its_name(tree: Path, place: Place, text: str) -> None:
    """Also after the function has moved to another file of its package."""
    assert place.find(tree).text == text


@pytest.mark.parametrize(
    ("place", "pattern", "problem"),
    [
        (Python("shop.one", "Till.open"), "x", "shop.one:Till.open is not defined in this package"),
        (Sql("function shop.g"), "x", "SQL function shop.g is not in supabase/migrations"),
        (Sql("policy own"), "x", "SQL policy own is there 2 times: 2_b.sql, 2_b.sql"),
        (Python("shop.one", "LIMIT"), "4", "the pattern does not match in shop.one:LIMIT (one.py)"),
        (Python("shop.two", "open_till"), "return", "the pattern matches 2 times in shop.two:open_till (two.py)"),
        (Python("shop.one", "LIMIT"), "3", "what is planted in shop.one:LIMIT is not Python"),
    ],
)
def test_a_stale_entry_says_what_is_stale(tree: Path, place: Place, pattern: str, problem: str) -> None:
    bug = PlantedBug("bug", place, pattern, "(", "a promise", ())
    assert (bug.find_problem(tree) or "").startswith(problem)


def test_white_space_in_a_pattern_matches_any_white_space(tree: Path) -> None:
    """So that another line break does not make an entry stale."""
    bug = PlantedBug("bug", Python("shop.two", "open_till"), exactly("if True: return 1"), "pass", "a promise", ())
    file, text = bug.plant(tree)
    assert (file.read_text(), text != file.read_text()) == ("@cache\ndef open_till():\n    pass\n    return 2\n", True)


def test_a_bug_that_changes_nothing_is_refused(tree: Path) -> None:
    bug = PlantedBug("bug", Python("shop.one", "LIMIT"), "3", "3", "a promise", ())
    with pytest.raises(Stale, match="changes nothing"):
        bug.plant(tree)


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        (("tests/a.py",), ("tests/a.py::test_one[1]", "tests/a.py::test_two")),
        (("tests/a.py::test_two", "tests/b.py::test_one[2]"), ("tests/a.py::test_two", "tests/b.py::test_one[2]")),
        (("tests/b.py::test_one", "tests/b.py"), ("tests/b.py::test_one[2]",)),
        (("tests/b.py::test_one[1]", "tests/b.py::test"), ()),
    ],
)
def test_a_bug_is_judged_by_those_of_its_tests_that_run(named: tuple[str, ...], asked: tuple[str, ...]) -> None:
    bug = PlantedBug("bug", Python("shop.one", "LIMIT"), "3", "4", "a promise", named)
    ids = ["tests/a.py::test_one[1]", "tests/a.py::test_two", "tests/b.py::test_one[2]"]
    assert narrow(bug, ids).tests == asked


def test_a_bug_of_which_no_test_runs_is_not_judged(tree: Path) -> None:
    bug = PlantedBug("bug", Python("shop.one", "LIMIT"), "3", "4", "a promise", ())
    assert judge(tree, bug).trouble == "none of its tests runs"
    assert (tree / "shop" / "one.py").read_text().startswith("LIMIT = 3")
