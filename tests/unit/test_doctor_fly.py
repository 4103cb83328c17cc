"""What `hangar doctor` asks Fly: only questions, whatever Fly answers."""

from datetime import UTC, datetime

import pytest

from shared.doctor.fly_checks import NAMES, check_fly
from shared.doctor.surroundings import Surroundings
from shared.domain.errors import Refused, TransientError

NOW = datetime(2026, 11, 27, tzinfo=UTC)
TOKENS = [{"token_id": "t", "organization": "Acme", "org_slug": "acme", "apps": []}]


class Link:
    """Answers as it is told, and remembers every request."""

    def __init__(self, answer):
        self.answer, self.sent = answer, []

    def call_once(self, request):
        self.sent.append((request.method, request.path))
        if isinstance(self.answer, Exception):
            raise self.answer
        return type("Answer", (), {"data": self.answer})()


def examine(answer):
    link = Link(answer)
    here = Surroundings("https://p.supabase.co", "sb_secret_0", fly_token="FlyV1 fm2_0000000000000000")
    found = {check.name: check for check in check_fly(link, here, {"fly_org_slug": "acme"}, ["sin"], NOW)}
    assert set(found) == set(NAMES)
    return found, link.sent


@pytest.mark.parametrize(
    "answer",
    [
        {"tokens": TOKENS, "regions": [{"code": "sin"}]},
        {},
        Refused("no", status=403),
        Refused("no", status=404),
        Refused("no", status=422),
        TransientError("no answer"),
    ],
)
def test_nothing_at_fly_could_be_created_or_changed(answer):
    """A name that Fly refuses today may be accepted tomorrow, so no call that creates is sent. Fly judges rights without one."""
    _, sent = examine(answer)
    assert sent
    assert {each for each in sent if each[0] != "GET"} <= {("POST", "/v1/tokens/authorize")}


def test_what_fly_does_not_say_is_not_claimed():
    """A token of the whole organisation is ok; without an answer about it nothing is."""
    found, _ = examine({"tokens": TOKENS, "regions": [{"code": "sin"}]})
    assert found["fly_token_scope"].state == "ok"
    assert "may create apps" in found["fly_token_scope"].found
    found, _ = examine({"tokens": [], "regions": [{"code": "sin"}]})
    assert found["fly_token_scope"].state == "warning"


KEEP = "Set FLY_ORG_SLUG to acme, here and for the functions"
CHANGE = "hangar settings set fly_org_slug=old-shell"


class Organisations:
    """Fly, which opens these organisations to the token."""

    def __init__(self, *opened):
        self.opened = opened

    def call_once(self, request):
        org = request.params.get("org_slug") if request.params else None
        if org and org not in self.opened:
            raise Refused("not found", code="org", status=404)
        return type("Answer", (), {"data": {"tokens": TOKENS, "regions": [{"code": "sin"}]}})()


@pytest.mark.parametrize(
    ("opened", "remedy"),
    [
        (("acme",), KEEP),
        (("old-shell",), CHANGE),
        (("acme", "old-shell"), f"{KEEP}; or, if the apps belong in old-shell: {CHANGE}"),
    ],
)
def test_of_two_organisations_the_one_that_fly_does_not_open_is_to_be_corrected(opened, remedy):
    """The remedy was to copy the variable of the shell into the setting, whichever of the two was wrong."""
    here = Surroundings(
        "https://p.supabase.co", "sb_secret_0", fly_token="FlyV1 fm2_0000000000000000", fly_org="old-shell"
    )
    found = {
        check.name: check for check in check_fly(Organisations(*opened), here, {"fly_org_slug": "acme"}, ["sin"], NOW)
    }["fly_organisation"]
    assert (found.state, found.remedy) == ("wrong", remedy)
