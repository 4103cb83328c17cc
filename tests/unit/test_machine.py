"""The complete machine config of a row. An update replaces the whole config, so nothing may be missing."""

import json
from datetime import UTC, datetime
from uuid import UUID

import jwt
import pytest

from shared.domain.machine_config import build_config, build_env
from shared.settings.config import Config
from shared.wiring import make_machine_inputs
from tests.unit.test_config import GOOD, P256
from tests.unit.test_decide import ROW, having

INSTALLATION = UUID(int=3)
OURS = {
    "USER_ID": str(ROW.user_id),
    "RUN_MODE": "user_dedicated",
    "HANGAR_APP_ID": str(ROW.id),
    "SUPABASE_URL": "https://x.supabase.co",
    "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_0",
}


def env_with(**extra):
    return build_env(ROW, supabase_url="https://x.supabase.co", publishable_key="sb_publishable_0", extra=extra)


def config_of(row):
    return build_config(row, installation_id=INSTALLATION, env={"USER_ID": "u"})


def test_the_environment_is_the_contract_and_the_extras():
    """Configured variables are added but never replace one of Hangar's names."""
    assert env_with() == OURS
    assert env_with(LOG_LEVEL="debug", RUN_MODE="shared_backend", USER_ID="another") == OURS | {"LOG_LEVEL": "debug"}


def test_the_whole_config():
    """Always restarted, never auto-destroyed, stopped gracefully, checked on both endpoints, not public."""
    check = {"type": "http", "port": 8080, "method": "GET", "interval": "15s", "timeout": "5s"}
    assert config_of(ROW) == {
        "image": "registry.example/app@sha256:1",
        "guest": {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512},
        "env": {"USER_ID": "u"},
        "restart": {"policy": "always", "max_retries": 10},
        "auto_destroy": False,
        "stop_config": {"signal": "SIGTERM", "timeout": "30s"},
        "checks": {
            "alive": check | {"path": "/health", "grace_period": "10s"},
            "ready": check | {"path": "/ready", "grace_period": "30s"},
        },
        "metadata": {
            "hangar_user": str(ROW.user_id),
            "hangar_row": str(ROW.id),
            "hangar_installation": str(INSTALLATION),
            "hangar_spec": "registry.example/app@sha256:1 shared-2x512 always_on private",
        },
    }


@pytest.mark.parametrize(
    ("power", "expected"),
    [
        ("always_on", {"autostop": "off", "autostart": False, "min_machines_running": 1}),
        ("on_demand", {"autostop": "suspend", "autostart": True, "min_machines_running": 0}),
    ],
)
def test_only_a_public_plan_is_reached_from_outside(power, expected):
    """An always-on plan states it explicitly."""
    [service] = config_of(having(ROW, public_service=True, power=power))["services"]
    assert service == {
        "protocol": "tcp",
        "internal_port": 8080,
        "ports": [
            {"port": 80, "handlers": ["http"], "force_https": True},
            {"port": 443, "handlers": ["tls", "http"]},
        ],
        **expected,
    }


def test_secrets_are_sent_as_fly_secrets_only():
    """I9: the user's token and configured secrets are not in the environment. Hangar's keys are nowhere."""
    given = {"HANGAR_MACHINE_SECRETS": '{"BROKER_KEY": "canary-broker"}'}
    config = Config.from_env(GOOD | given | {"HANGAR_MACHINE_ENV": '{"LOG_LEVEL": "debug"}'})
    provisions = make_machine_inputs(config)
    secrets, env = dict(provisions.secrets(ROW, datetime.now(UTC))), dict(provisions.env(ROW))
    token = secrets.pop("SUPABASE_USER_TOKEN")
    assert secrets == {"BROKER_KEY": "canary-broker"}
    claims = jwt.decode(token, P256.public_key(), algorithms=["ES256"], audience="authenticated")
    assert (claims["sub"], claims["app_id"], claims["role"]) == (str(ROW.user_id), str(ROW.id), "authenticated")
    assert env == OURS | {
        "LOG_LEVEL": "debug",
        "SUPABASE_URL": GOOD["SUPABASE_URL"],
        "SUPABASE_PUBLISHABLE_KEY": GOOD["SUPABASE_PUBLISHABLE_KEY"],
    }
    everything = json.dumps([env, secrets, build_config(ROW, installation_id=INSTALLATION, env=env)]) + token
    for name in ("SUPABASE_SECRET_KEY", "FLY_API_TOKEN", "HANGAR_WEBHOOK_SECRET", "HANGAR_USER_TOKEN_KEY"):
        assert GOOD[name] not in everything
