"""Settings: all problems are reported at once, by variable and expected form, and no value is shown."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from shared.settings.config import Config, ConfigError
from shared.settings.validators import webhook_key

P256 = ec.generate_private_key(ec.SECP256R1())
PKCS8 = P256.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SEC1 = P256.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
WEBHOOK = "whsec_" + base64.b64encode(b"k" * 32).decode()
GOOD = {
    "SUPABASE_URL": "http://127.0.0.1:54321",
    "SUPABASE_SECRET_KEY": "sb_secret_canary0000000000",
    "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_0000000000",
    "FLY_API_TOKEN": "FlyV1 fm2_canary0000000000,fm2_canary1111111111",
    "FLY_ORG_SLUG": "acme",
    "HANGAR_INSTALLATION_ID": "11111111-1111-4111-8111-111111111111",
    "HANGAR_WEBHOOK_SECRET": WEBHOOK,
    "HANGAR_USER_TOKEN_KEY": PKCS8,
}


def b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwk(**changes):
    numbers = P256.private_numbers()
    parts = {
        "kty": "EC",
        "crv": "P-256",
        "kid": "key-1",
        "x": b64url(numbers.public_numbers.x.to_bytes(32, "big")),
        "y": b64url(numbers.public_numbers.y.to_bytes(32, "big")),
        "d": b64url(numbers.private_value.to_bytes(32, "big")),
    }
    return json.dumps({name: value for name, value in {**parts, **changes}.items() if value is not None})


def legacy_jwt(role):
    claims = b64url(json.dumps({"iss": "supabase", "role": role}).encode())
    return f"{b64url(b'{}')}.{claims}.{b64url(b'signature')}"


def problems_of(environ):
    with pytest.raises(ConfigError) as caught:
        Config.from_env(environ)
    return caught.value.problems


def test_the_required_settings_are_enough():
    config = Config.from_env(GOOD)
    assert config.fly_api_url == "https://api.machines.dev"
    assert config.token_issuer == "http://127.0.0.1:54321/auth/v1"
    assert (config.static_secret, config.alert_webhook_urls) == (None, ())
    assert (dict(config.machine_env), dict(config.machine_secrets), config.admin_origins) == ({}, {}, ())
    assert config.deadline_s == 270


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_setting_is_reported_with_its_form(name):
    without = {key: value for key, value in GOOD.items() if key != name}
    for environ in (without, without | {name: ""}, without | {name: " \n"}):
        (problem,) = problems_of(environ)
        assert problem.startswith(name)
        assert "is missing: expected " in problem


def test_all_problems_are_reported_at_once():
    problems = problems_of({"FLY_ORG_SLUG": "NO SLUG", "CLOUD_RUN_TIMEOUT_SECONDS": "soon"})
    assert len(problems) == len(GOOD) + 1
    assert {problem.split()[0] for problem in problems} == GOOD.keys() | {"CLOUD_RUN_TIMEOUT_SECONDS"}


WRONG = [
    ("SUPABASE_URL", "canary.supabase.co"),
    ("SUPABASE_URL", "https://user:canary@x.supabase.co"),
    ("SUPABASE_URL", "https://x.supabase.co/?apikey=canary"),
    ("SUPABASE_URL", "https://x:canary"),
    ("SUPABASE_URL", "https://[canary"),
    ("SUPABASE_URL", "ftp://canary"),
    ("SUPABASE_SECRET_KEY", "sb_publishable_canary0000"),
    ("SUPABASE_SECRET_KEY", legacy_jwt("anon")),
    ("SUPABASE_SECRET_KEY", "sb_secret_canary with space"),
    ("SUPABASE_PUBLISHABLE_KEY", "sb_secret_canary0000000000"),
    ("SUPABASE_PUBLISHABLE_KEY", legacy_jwt("service_role")),
    ("SUPABASE_PUBLISHABLE_KEY", "a.b.c"),
    ("FLY_API_TOKEN", "canary"),
    ("FLY_API_TOKEN", "canary0000000\ncanary111111"),
    ("FLY_API_URL", "canary"),
    ("FLY_ORG_SLUG", "Canary Org"),
    ("HANGAR_INSTALLATION_ID", "canary"),
    ("HANGAR_INSTALLATION_ID", "{11111111-1111-4111-8111-111111111111}"),
    ("HANGAR_WEBHOOK_SECRET", "canary"),
    ("HANGAR_WEBHOOK_SECRET", "whsec_canary!"),
    ("HANGAR_WEBHOOK_SECRET", "whsec_" + base64.b64encode(b"k" * 23).decode()),
    ("HANGAR_WEBHOOK_SECRET", "whsec_" + base64.b64encode(b"k" * 65).decode()),
    ("HANGAR_STATIC_SECRET", "canary"),
    ("HANGAR_STATIC_SECRET", "canary canary canary"),
    ("HANGAR_STATIC_SECRET", "canary-canary-canarÿ"),
    ("HANGAR_USER_TOKEN_KEY", "canary"),
    ("HANGAR_USER_TOKEN_KEY", "{canary"),
    ("HANGAR_USER_TOKEN_KEY", jwk(kid=None)),
    ("HANGAR_USER_TOKEN_KEY", jwk(d=None)),
    ("HANGAR_USER_TOKEN_KEY", jwk(crv="P-384")),
    ("HANGAR_USER_TOKEN_KEY", jwk(d="canary")),
    ("HANGAR_MACHINE_ENV", "canary"),
    ("HANGAR_MACHINE_ENV", '["canary"]'),
    ("HANGAR_MACHINE_ENV", '{"PORT": 8080}'),
    ("HANGAR_MACHINE_ENV", '{"CANARY-NAME": "x"}'),
    ("HANGAR_MACHINE_ENV", "[" * 100_000),
    ("HANGAR_MACHINE_SECRETS", '{"KEY": null}'),
    ("HANGAR_FUNCTIONS_URL", "canary"),
    ("HANGAR_FUNCTIONS_URL", '{"provision": "https://canary.example.test"}'),
    ("HANGAR_FUNCTIONS_URL", '{"provision": "canary", "deprovision": "https://d", "health": "https://h"}'),
    ("HANGAR_FUNCTIONS_URL", '{"provision": 1, "deprovision": "https://d", "health": "https://h"}'),
    ("HANGAR_FUNCTIONS_URL", "{canary"),
    ("HANGAR_ADMIN_ORIGINS", "*"),
    ("HANGAR_ADMIN_ORIGINS", "https://canary.example.test/path"),
    ("HANGAR_ADMIN_ORIGINS", "https://a.example.test canary"),
    ("HANGAR_ALERT_WEBHOOK_URL", "canary"),
    ("HANGAR_IMAGE_LOOKUP", "canary"),
    ("CLOUD_RUN_TIMEOUT_SECONDS", "9"),
    ("CLOUD_RUN_TIMEOUT_SECONDS", "3601"),
    ("CLOUD_RUN_TIMEOUT_SECONDS", "٣٠٠"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_is_reported_with_its_form_and_without_its_value(name, value):
    (problem,) = problems_of(GOOD | {name: value})
    assert problem.startswith(f"{name} is wrong: expected ")
    assert "canary" not in problem.lower()
    assert value not in problem


@pytest.mark.parametrize(
    "key",
    [
        PKCS8,
        SEC1,
        PKCS8.replace("\n", "\\n"),
        jwk(),
        jwk(alg="ES256"),
        f"\n{PKCS8}\n\n",
    ],
)
def test_the_user_token_key_may_be_pem_or_jwk(key):
    assert Config.from_env(GOOD | {"HANGAR_USER_TOKEN_KEY": key})


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        P256.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass")),
    ],
    ids=["P-384", "RSA", "encrypted"],
)
def test_a_key_of_another_kind_is_rejected(key):
    (problem,) = problems_of(GOOD | {"HANGAR_USER_TOKEN_KEY": key.decode()})
    assert problem.startswith("HANGAR_USER_TOKEN_KEY is wrong")


def test_legacy_keys_are_accepted_under_both_names():
    old = {key: value for key, value in GOOD.items() if key != "SUPABASE_SECRET_KEY"}
    key = legacy_jwt("service_role")
    config = Config.from_env(old | {"SUPABASE_SERVICE_ROLE_KEY": key, "SUPABASE_PUBLISHABLE_KEY": legacy_jwt("anon")})
    assert config.supabase_secret_key.get_secret_value() == key
    both = Config.from_env(GOOD | {"SUPABASE_SERVICE_ROLE_KEY": key})
    assert both.supabase_secret_key.get_secret_value() == GOOD["SUPABASE_SECRET_KEY"]


def test_white_space_around_a_value_is_dropped():
    config = Config.from_env({name: f" {value}\n" for name, value in GOOD.items()})
    assert config.fly_org_slug == "acme"
    assert config.fly_api_token.get_secret_value() == GOOD["FLY_API_TOKEN"]


def test_urls_lose_their_trailing_slash_and_origins_are_split():
    config = Config.from_env(
        GOOD
        | {
            "SUPABASE_URL": "https://x.supabase.co/",
            "HANGAR_ADMIN_ORIGINS": "https://A.example.test, http://127.0.0.1:8080,https://a.example.test",
        }
    )
    assert config.supabase_url == "https://x.supabase.co"
    assert config.admin_origins == ("https://a.example.test", "http://127.0.0.1:8080")


@pytest.mark.parametrize(("timeout", "deadline"), [("10", 5.0), ("60", 54.0), ("300", 270.0), ("3600", 3240.0)])
def test_the_deadline_leaves_time_for_the_answer(timeout, deadline):
    assert Config.from_env(GOOD | {"CLOUD_RUN_TIMEOUT_SECONDS": timeout}).deadline_s == deadline


@pytest.mark.parametrize("name", ["HANGAR_MACHINE_ENV", "HANGAR_MACHINE_SECRETS"])
def test_machine_extras_cannot_replace_a_variable_of_hangar(name):
    (problem,) = problems_of(GOOD | {name: '{"RUN_MODE": "canary", "SUPABASE_USER_TOKEN": "canary"}'})
    assert problem == f"{name} is wrong: RUN_MODE, SUPABASE_USER_TOKEN is set by Hangar itself; leave it out"


@pytest.mark.parametrize("name", ["HANGAR_MACHINE_ENV", "HANGAR_MACHINE_SECRETS"])
@pytest.mark.parametrize("own", ["SUPABASE_SECRET_KEY", "FLY_API_TOKEN", "HANGAR_WEBHOOK_SECRET"])
def test_machine_extras_cannot_carry_a_secret_of_hangar(name, own):
    (problem,) = problems_of(GOOD | {name: json.dumps({"BORROWED": GOOD[own]})})
    assert problem.startswith(f"{name} is wrong: BORROWED holds one of Hangar's own secrets")


def test_one_name_cannot_be_both_env_and_secret():
    (problem,) = problems_of(GOOD | {"HANGAR_MACHINE_ENV": '{"A": "1"}', "HANGAR_MACHINE_SECRETS": '{"A": "2"}'})
    assert "A is also in HANGAR_MACHINE_ENV" in problem


def test_no_text_of_a_config_shows_a_secret():
    """Every secret setting holds a canary. No text that a log or a traceback would make of the settings shows it."""
    config = Config.from_env(
        GOOD
        | {
            "HANGAR_STATIC_SECRET": "canary-static-secret",
            "HANGAR_MACHINE_SECRETS": '{"API_KEY": "canary-machine"}',
            "HANGAR_ALERT_WEBHOOK_URL": "https://alerts.example.test/canary-alert, https://b.example.test/canary-2",
            "HANGAR_USER_TOKEN_KEY": jwk(kid="canary-kid"),
        }
    )
    shown = f"{config!r} {config} {config.model_dump()} {config.model_dump_json()} {vars(config)} {[*vars(config).values()]}"
    assert "canary" not in shown
    assert base64.b64encode(b"k" * 32).decode() not in shown
    assert sum("canary" in value for value in config.secret_values()) == 7
    assert {"canary-static-secret", "canary-machine"} <= set(config.secret_values())


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("https://a.example.test/x", ["https://a.example.test/x"]),
        ("https://a.test/x,https://b.test/y", ["https://a.test/x", "https://b.test/y"]),
        (" https://a.test/x ,\n https://b.test/y, https://a.test/x ", ["https://a.test/x", "https://b.test/y"]),
        ("https://a.test/x?ids=1,2,3", ["https://a.test/x?ids=1,2,3"]),
    ],
)
def test_alerts_may_have_several_destinations(text, urls):
    config = Config.from_env(GOOD | {"HANGAR_ALERT_WEBHOOK_URL": text})
    assert [url.get_secret_value() for url in config.alert_webhook_urls] == urls


@pytest.mark.parametrize("text", ["hooks.example.test", "https://a.test/x, b.test/y", "https://u:p@a.test/x", ","])
def test_a_wrong_destination_of_alerts_is_refused(text):
    (problem,) = problems_of(GOOD | {"HANGAR_ALERT_WEBHOOK_URL": text})
    assert problem.startswith("HANGAR_ALERT_WEBHOOK_URL is wrong: expected one or more URLs https://")


def test_an_error_keeps_no_value_in_its_chain():
    """A traceback of the error cannot lead to the rejected values."""
    with pytest.raises(ConfigError) as caught:
        Config.from_env(GOOD | {"FLY_API_TOKEN": "canary"})
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_validation_error_shows_no_value():
    """Also where a model is made without `from_env`."""
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"supabase_url": "canary", "fly_api_token": ["canary"]})
    assert "canary" not in f"{caught.value} {caught.value!r}"


def test_every_problem_of_the_machine_extras_is_on_one_line():
    extras = {"USER_ID": "canary", "COPY": GOOD["FLY_API_TOKEN"]}
    (problem,) = problems_of(GOOD | {"HANGAR_MACHINE_ENV": json.dumps(extras)})
    assert "USER_ID is set by Hangar itself" in problem
    assert "COPY holds one of Hangar's own secrets" in problem
    assert "canary" not in problem


@pytest.mark.parametrize("name", ["DOCKER_IMAGE", "FLY_DEFAULT_REGION", "HANGAR_UNKNOWN"])
def test_a_variable_that_hangar_does_not_use_is_ignored(name):
    assert Config.from_env(GOOD | {name: "no valid value"}) == Config.from_env(GOOD)


def test_an_empty_optional_setting_counts_as_not_set():
    assert Config.from_env(GOOD | {"CLOUD_RUN_TIMEOUT_SECONDS": " ", "HANGAR_ADMIN_ORIGINS": ""}).deadline_s == 270


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_webhook_secret_gives_its_key(size):
    assert webhook_key("whsec_" + base64.b64encode(b"x" * size).decode()) == b"x" * size


def test_function_urls_are_one_base_or_one_url_each():
    """The two forms that Vault and the command line accept."""
    base = Config.from_env(GOOD | {"HANGAR_FUNCTIONS_URL": "https://hangar.example.test/v1/"})
    assert base.function_urls["provision"] == "https://hangar.example.test/v1/provision"
    assert set(base.function_urls) == {"provision", "deprovision", "health"}
    own = {name: f"http://127.0.0.1:{port}" for port, name in enumerate(sorted(base.function_urls), start=1)}
    assert Config.from_env(GOOD | {"HANGAR_FUNCTIONS_URL": json.dumps(own)}).function_urls == own
    assert Config.from_env(GOOD).function_urls == {}
