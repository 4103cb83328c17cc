"""The calls about an app's addresses, and what each address of Fly is."""

import pytest

from shared.domain import errors
from shared.domain.observation import AppAddress
from shared.fly.addresses import parse_address
from tests.unit.scripted_fly import ScriptedFly, answer, error_body, make_client

APP = "vyx-user-0a1b2c3d"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"ip": "66.241.124.1", "shared": True}, "shared_v4"),
        ({"ip": "203.0.113.7", "shared": False}, "v4"),
        ({"ip": "203.0.113.7"}, "v4"),
        ({"ip": "2a09:8280:1::1:1"}, "v6"),
        ({"ip": "fdaa:0:1:0:1::2", "network": {"name": "n"}}, "private"),
        ({"ip": "FDAA:0:1:0:1::2"}, "private"),
        ({"ip": "2a09:8280:e::1", "egress": True}, "private"),
        ({"ip": "203.0.113.9", "egress": True, "shared": True}, "private"),
    ],
)
def test_only_a_public_address_counts(raw, kind):
    """Flycast and egress addresses do not make `<app>.fly.dev` answer."""
    assert parse_address(raw) == AppAddress(raw["ip"], kind)


def test_addresses_are_listed_assigned_and_released():
    fly = ScriptedFly(answer(200, {"ips": [{"ip": "::1"}, {}, None]}), answer(200, {"ip": "::1"}), answer(204))
    client = make_client(fly)
    assert client.list_addresses(APP) == (AppAddress("::1", "v6"),)
    client.assign_address(APP, "v6")
    client.release_address(APP, "2a09:8280:1::1:1")
    path = f"/v1/apps/{APP}/ip_assignments"
    assert fly.paths == [f"GET {path}", f"POST {path}", f"DELETE {path}/2a09:8280:1::1:1"]
    assert fly.bodies[1] == {"type": "v6"}


@pytest.mark.parametrize(("status", "body"), [(404, error_body("app not found")), (200, {"ips": None})])
def test_an_app_without_addresses_has_none(status, body):
    assert make_client(ScriptedFly(answer(status, body))).list_addresses(APP) == ()


@pytest.mark.parametrize("body", [{}, [], "<html>", {"ips": {}}])
def test_an_answer_without_a_list_is_not_read_as_none(body):
    with pytest.raises(errors.TransientError):
        make_client(ScriptedFly(answer(200, body))).list_addresses(APP)


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (409, "already there", errors.Conflict),
        (422, "already there", errors.Conflict),
        (422, "organization has reached its limit", errors.Refused),
        (403, "pay the open invoice", errors.Refused),
        (400, "bad type", errors.Refused),
    ],
)
def test_an_address_that_exists_is_a_conflict_and_a_refusal_is_one(status, text, kind):
    with pytest.raises(kind) as caught:
        make_client(ScriptedFly(answer(status, error_body(text)))).assign_address(APP, "shared_v4")
    assert text in str(caught.value)


def test_a_released_address_may_be_gone_already():
    make_client(ScriptedFly(answer(404, error_body("not_found: ip address not found")))).release_address(APP, "::1")
