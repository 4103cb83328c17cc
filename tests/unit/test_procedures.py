"""Python calls the database through the typed methods of the adapters only."""

import re
from pathlib import Path
from uuid import UUID

import pytest

from shared.adapters.operator_database import OperatorDatabase

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS = ROOT / "shared" / "adapters"
CALL = re.compile(r"""\.rpc\(|_call\(\s*["']fly_""")
NAMED = re.compile(r'_call\(\s*"(\w+)"')
USER = UUID("00000000-0000-4000-8000-000000000001")


class Store:
    """Answers every call with `answer`, and remembers the last call."""

    def __init__(self, answer):
        self.answer, self.called = answer, None

    def rpc(self, name, args):
        self.called = (name, args)
        return self.answer


def test_nothing_outside_the_adapters_calls_a_procedure_by_name():
    """The product and the command line use named methods. Tests and the local cloud may speak PostgREST."""
    folders = [ROOT / name for name in ("shared", "functions", "ops", "tools")]
    files = [ROOT / "main.py", *(path for folder in folders for path in folder.rglob("*.py"))]
    assert len(files) > 100
    outside = [path for path in files if not path.is_relative_to(ADAPTERS)]
    assert [str(path.relative_to(ROOT)) for path in outside if CALL.search(path.read_text(encoding="utf-8"))] == []


def test_every_called_procedure_exists():
    python = "\n".join(path.read_text(encoding="utf-8") for path in ADAPTERS.glob("procedures*.py"))
    sql = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "supabase" / "migrations").glob("*.sql"))
    called = set(NAMED.findall(python))
    assert len(called) > 35
    assert called - set(re.findall(r"create (?:or replace )?function public\.(fly_\w+)\(", sql)) == set()
    assert len(re.findall(r"self\._call\(", python)) == len(NAMED.findall(python))


@pytest.mark.parametrize("change", ["add_operator", "remove_operator"])
def test_a_change_of_the_operators_keeps_the_keys_of_its_answer(change):
    """`hangar operators add --json` prints them in this order."""
    answer = {"email": "ops@example.com", "changed": True, "operator": change == "add_operator"}
    store = Store(answer)
    found = getattr(OperatorDatabase(store), change)(USER, actor="cli:test", reason=None)
    assert store.called == (f"fly_{change}", {"p_user": str(USER), "p_actor": "cli:test", "p_reason": None})
    assert (found.is_operator, found.email, found.changed) == (change == "add_operator", "ops@example.com", True)
    assert list(found.as_json().items()) == list(answer.items())


def test_a_change_of_settings_keeps_the_keys_of_its_answer():
    """`hangar settings set --json` prints them in this order."""
    answer = {"changed": ["live"], "settings": {"live": True}, "unrecorded": None}
    found = OperatorDatabase(Store(answer)).set_settings({"live": True}, actor="cli:test", reason="test")
    assert (found.changed, found.settings) == (("live",), {"live": True})
    assert list(found.as_json().items()) == list(answer.items())


@pytest.mark.parametrize("answer", [{"operator": False, "email": "a@example.com"}, {"operator": "yes"}, {}])
def test_only_an_operator_gets_a_frame(answer):
    """The guard refuses everything except a plain `true`."""
    assert OperatorDatabase(Store(answer)).read_frame(str(USER)) is None


def test_the_frame_of_an_operator_is_the_whole_answer():
    answer = {"operator": True, "email": "a@example.com", "settings": {}}
    assert OperatorDatabase(Store(answer)).read_frame(str(USER)) == answer


def test_an_unknown_user_has_no_page():
    assert OperatorDatabase(Store({"known": False})).read_user(USER) is None
    assert OperatorDatabase(Store({"known": True, "row": None})).read_user(USER) == {"known": True, "row": None}


def test_the_outcomes_of_an_admission_are_by_user():
    store = Store({"users": {str(USER): "inserted"}})
    assert OperatorDatabase(store).admit([USER], actor="cli:test") == {USER: "inserted"}
    assert store.called == ("fly_admit", {"p_users": [str(USER)], "p_actor": "cli:test"})


def test_pages_of_candidates_continue_at_a_user():
    store = Store({"users": [], "next": str(USER)})
    page = OperatorDatabase(store).read_candidate_page(None, 500)
    assert (page.candidates, page.next) == ((), USER)
    OperatorDatabase(store).read_candidate_page(USER, 500)
    assert store.called == ("fly_migration_candidates", {"p_after": str(USER), "p_limit": 500})


def make_targets(numbers):
    return [{"app": f"app-{number}", "user_id": str(number)} for number in numbers]


def test_a_release_is_read_with_all_its_targets():
    """Page by page. An app that joined between two pages pushes another one onto the next page; it is kept once."""

    class Pages(Store):
        def rpc(self, name, args):
            assert name == "fly_release"
            first, count = args["p_offset"], args["p_targets"]
            known = (
                make_targets(range(12000))
                if first == 0
                else [{"app": "late", "user_id": "late"}, *make_targets(range(12000))]
            )
            return {"id": 1, "targets": known[first : first + count]}

    targets = OperatorDatabase(Pages(None)).read_release(1)["targets"]
    assert targets == make_targets(range(12000))
