"""The RUN_MODE contract: the environment that the reference backend accepts and refuses."""

import base64
import json

import pytest

from tests.support.example_backend import load_backend

backend = load_backend()

USER = "0c5e2a4e-6f0b-4d5e-9a53-1f2f6a1d8b11"
APP = "7d0c4b3e-92a1-4a3b-8f0e-3a1f0f1c2d33"


def token(role="authenticated", sub=USER):
    parts = [json.dumps(part).encode() for part in ({"alg": "ES256"}, {"role": role, "sub": sub})]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, b"signature"))


def environment(**changes):
    env = {
        "RUN_MODE": "user_dedicated",
        "USER_ID": USER,
        "HANGAR_APP_ID": APP,
        "SUPABASE_URL": "https://abc.example.test/",
        "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_x",
        "SUPABASE_USER_TOKEN": token(),
    }
    return {name: value for name, value in {**env, **changes}.items() if value is not None}


def faults(**changes):
    return backend.find_problems(environment(**changes))


def test_a_complete_environment_is_read_with_defaults():
    assert backend.find_problems(environment()) == []
    settings = backend.read_settings(environment())
    assert (settings.user_id, settings.app_id, settings.token_user_id) == (USER, APP, USER)
    assert (settings.port, settings.poll_interval_s, settings.signal_interval_s) == (8080, 5.0, 60.0)
    assert settings.supabase_url == "https://abc.example.test"


@pytest.mark.parametrize("value", [None, "", "dedicated", "USER_DEDICATED", " shared_backend"])
def test_another_run_mode_is_refused(value):
    (fault,) = faults(RUN_MODE=value)
    assert "RUN_MODE" in fault
    assert "user_dedicated, shared_backend" in fault


@pytest.mark.parametrize("name", ["USER_ID", "HANGAR_APP_ID"])
@pytest.mark.parametrize("value", [None, "42", "not-a-uuid"])
def test_user_dedicated_needs_its_user_and_its_app_as_uuids(name, value):
    (fault,) = faults(**{name: value})
    assert fault.startswith(f"{name} must be a uuid")


def test_shared_backend_needs_neither_user_nor_app_and_ignores_a_given_user():
    given = environment(RUN_MODE="shared_backend", USER_ID=USER, HANGAR_APP_ID=None)
    assert backend.find_problems(given) == []
    settings = backend.read_settings(given)
    assert (settings.user_id, settings.app_id) == (None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUPABASE_SECRET_KEY", "sb_secret_abc"),
        ("SUPABASE_SERVICE_ROLE_KEY", "anything"),
        ("SUPABASE_SERVICE_KEY_B64", "YW55"),
        ("SUPABASE_PUBLISHABLE_KEY", "sb_secret_abc"),
        ("SUPABASE_USER_TOKEN", token(role="service_role")),
        ("SOME_OTHER_NAME", token(role="service_role")),
    ],
)
def test_a_service_key_under_any_name_is_refused_and_not_shown(name, value):
    (fault,) = faults(**{name: value})
    assert fault.startswith(f"{name} holds a service key")
    assert value not in fault


def test_a_token_of_another_user_is_refused():
    (fault,) = faults(SUPABASE_USER_TOKEN=token(sub="11111111-1111-4111-8111-111111111111"))
    assert "SUPABASE_USER_TOKEN" in fault
    assert "USER_ID" in fault


@pytest.mark.parametrize("value", ["nonsense", "a.b.c", token(role="anon")])
def test_a_token_that_is_not_a_users_jwt_is_refused_and_not_shown(value):
    (fault,) = faults(SUPABASE_USER_TOKEN=value)
    assert "SUPABASE_USER_TOKEN must" in fault
    assert value not in fault


def test_every_fault_is_named_at_once():
    found = faults(RUN_MODE="x", SUPABASE_URL="abc", PORT="99999", POLL_INTERVAL_S="soon")
    assert [fault.split()[0] for fault in found] == ["RUN_MODE", "SUPABASE_URL", "PORT", "POLL_INTERVAL_S"]


def test_the_token_is_in_no_repr():
    assert token() not in repr(backend.read_settings(environment()))


@pytest.mark.parametrize("port", ["1e3", "1_0", "nan", "65536", "-1", " 80", "٣", "80.0"])
def test_a_port_that_is_no_whole_number_is_named(port):
    assert faults(PORT=port) == ["PORT must be a number from 0 (any free port) to 65535"]
