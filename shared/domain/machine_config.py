"""The Fly machine that a row describes, as the config of Fly's API. Pure. Fly replaces a config as a whole, so it is complete."""

from collections.abc import Mapping
from uuid import UUID

from shared.domain.models import Json, Row

PORT = 8080
# Fly kills after this long; the backend needs at most half of it to drain (docs/backend-contract.md).
STOP_TIMEOUT_S = 30
STOP_SIGNAL = "SIGTERM"

SPEC_KEY, ROW_KEY, USER_KEY, INSTALLATION_KEY = "hangar_spec", "hangar_row", "hangar_user", "hangar_installation"
# The version of the app's secrets that the machine was given with this config. Fly shows it nowhere else.
SECRETS_KEY = "hangar_secrets"


def build_env(row: Row, *, supabase_url: str, publishable_key: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The backend's plain environment. Our names win over configured extras, because they are its contract."""
    return {
        **extra,
        "USER_ID": str(row.user_id),
        "RUN_MODE": "user_dedicated",
        "HANGAR_APP_ID": str(row.id),
        "SUPABASE_URL": supabase_url,
        "SUPABASE_PUBLISHABLE_KEY": publishable_key,
    }


def build_config(row: Row, *, installation_id: UUID, env: Mapping[str, str], image: str | None = None) -> Json:
    """The whole machine config: image, size, env, checks, restart and stop rules, and our marks in the metadata.

    `image` is what to write instead of the row's image. The metadata is for people and for finding an app's owner after a
    restore; of what runs, only the version of the secrets is judged by it.
    """
    config: Json = {
        "image": image or row.docker_image,
        "guest": {"cpu_kind": row.cpu_kind, "cpus": row.cpu_count, "memory_mb": row.memory_mb},
        "env": dict(env),
        "restart": {"policy": "always", "max_retries": 10},
        "auto_destroy": False,
        "stop_config": {"signal": STOP_SIGNAL, "timeout": f"{STOP_TIMEOUT_S}s"},
        "checks": {"alive": _check("/health", grace_period="10s"), "ready": _check("/ready", grace_period="30s")},
        "metadata": {
            USER_KEY: str(row.user_id),
            ROW_KEY: str(row.id),
            INSTALLATION_KEY: str(installation_id),
            SPEC_KEY: spec_fingerprint(row),
            **({SECRETS_KEY: str(row.secrets_version)} if row.secrets_version is not None else {}),
        },
    }
    if row.public_service:
        config["services"] = [_service(on_demand=row.power == "on_demand")]
    return config


def _check(path: str, grace_period: str) -> Json:
    return {
        "type": "http",
        "port": PORT,
        "method": "GET",
        "path": path,
        "interval": "15s",
        "timeout": "5s",
        "grace_period": grace_period,
    }


def _service(*, on_demand: bool) -> Json:
    return {
        "protocol": "tcp",
        "internal_port": PORT,
        "ports": [
            {"port": 80, "handlers": ["http"], "force_https": True},
            {"port": 443, "handlers": ["tls", "http"]},
        ],
        # Always-on is stated explicitly: Fly's default once stopped machines that only looked idle.
        "autostop": "suspend" if on_demand else "off",
        "autostart": on_demand,
        "min_machines_running": 0 if on_demand else 1,
    }


def spec_fingerprint(row: Row) -> str:
    """The desired machine as one text for people, which the machine's metadata carries."""
    public = "public" if row.public_service else "private"
    return f"{row.docker_image} {row.cpu_kind}-{row.cpu_count}x{row.memory_mb} {row.power} {public}"
