"""The machine's environment, read once and checked as a whole before anything starts."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

DEDICATED = "user_dedicated"
SHARED = "shared_backend"
RUN_MODES = (DEDICATED, SHARED)
LOOPBACK = ("127.0.0.1", "localhost")
# Usual names of the key that bypasses row security.
SERVICE_KEY_NAMES = (
    "SUPABASE_SECRET_KEY",
    "SUPABASE_SERVICE_KEY",
    "SUPABASE_SERVICE_KEY_B64",
    "SUPABASE_SERVICE_ROLE_KEY",
    "SUPABASE_SERVICE_ROLE_KEY_B64",
)


class SettingsError(Exception):
    """The environment is invalid. One line per fault names the variable and never shows a key."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True)
class Settings:
    """A checked environment. `user_id` is set in user_dedicated only; `token_user_id` is the user of the token."""

    run_mode: str
    user_id: str | None
    app_id: str | None
    supabase_url: str
    publishable_key: str
    user_token: str = field(repr=False)
    token_user_id: str
    port: int
    poll_interval_s: float
    signal_interval_s: float
    version: str
    image: str | None = None


def read_settings(env: Mapping[str, str]) -> Settings:
    """Read the contract's variables from `env`; SettingsError names every fault, not only the first."""
    faults = find_service_keys(env)
    mode = env.get("RUN_MODE", "")
    if mode not in RUN_MODES:
        faults.append(f"RUN_MODE must be one of {', '.join(RUN_MODES)}; it is {_shown(env, 'RUN_MODE')}")
    dedicated = mode == DEDICATED
    user_id = _read_uuid(env, "USER_ID", faults, needed=dedicated) if mode != SHARED else None
    claims = _read_claims(env, faults)
    subject = str(claims.get("sub", ""))
    if dedicated and user_id and claims and subject != user_id:
        faults.append("SUPABASE_USER_TOKEN must be the token of the user named by USER_ID; it is another user's")
    settings = Settings(
        run_mode=mode,
        user_id=user_id,
        app_id=_read_uuid(env, "HANGAR_APP_ID", faults, needed=dedicated),
        supabase_url=_read_url(env, "SUPABASE_URL", faults),
        publishable_key=_read_text(env, "SUPABASE_PUBLISHABLE_KEY", faults),
        user_token=env.get("SUPABASE_USER_TOKEN", ""),
        token_user_id=subject,
        port=_read_port(env, faults),
        poll_interval_s=_read_seconds(env, "POLL_INTERVAL_S", 5.0, faults),
        signal_interval_s=_read_seconds(env, "SIGNAL_INTERVAL_S", 60.0, faults),
        version=env.get("VERSION") or "reference",
        image=env.get("FLY_IMAGE_REF") or None,
    )
    if env.get("HOST", "127.0.0.1") not in LOOPBACK:
        faults.append(f"HOST must be one of {', '.join(LOOPBACK)}: the reference backend runs on this computer only")
    if faults:
        raise SettingsError(faults)
    return settings


def find_service_keys(env: Mapping[str, str]) -> list[str]:
    """Faults for every variable that holds a key which bypasses row security, whatever its name."""
    return [
        f"{name} holds a service key; a user's machine must never have one (it reads every user's rows). Remove it"
        for name, value in sorted(env.items())
        if value and (name in SERVICE_KEY_NAMES or value.startswith("sb_secret_") or _role_of(value) == "service_role")
    ]


def _role_of(value: str) -> str | None:
    claims = decode_claims(value)
    return str(claims["role"]) if claims and "role" in claims else None


def decode_claims(token: str) -> dict[str, Any] | None:
    """The payload of a JWT, unverified (the gateway verifies), or None for other text."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return payload if isinstance(payload, dict) else None


def _read_claims(env: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    token = _read_text(env, "SUPABASE_USER_TOKEN", faults)
    if not token:
        return {}
    claims = decode_claims(token)
    if claims is None:
        faults.append("SUPABASE_USER_TOKEN must be a JWT (three parts joined by dots); the value is not one")
        return {}
    if claims.get("role") not in ("authenticated", "service_role"):  # a service key has its own fault above
        faults.append("SUPABASE_USER_TOKEN must carry the role authenticated; it carries another one")
    return claims


def _shown(env: Mapping[str, str], name: str) -> str:
    return f"{env[name][:64]!r}" if env.get(name) else "not set"


def _read_text(env: Mapping[str, str], name: str, faults: list[str]) -> str:
    value = env.get(name, "")
    if not value:
        faults.append(f"{name} must be set; it is not")
    return value


def _read_uuid(env: Mapping[str, str], name: str, faults: list[str], *, needed: bool) -> str | None:
    value = env.get(name, "")
    if not value and not needed:
        return None
    try:
        return str(UUID(value))
    except ValueError:
        faults.append(f"{name} must be a uuid such as 0c5e2a4e-6f0b-4d5e-9a53-1f2f6a1d8b11; it is {_shown(env, name)}")
        return None


def _read_url(env: Mapping[str, str], name: str, faults: list[str]) -> str:
    value = env.get(name, "")
    if not value.startswith(("http://", "https://")):
        faults.append(f"{name} must be a URL such as https://abc.supabase.co; it is {_shown(env, name)}")
    return value.rstrip("/")


def _read_port(env: Mapping[str, str], faults: list[str]) -> int:
    value = env.get("PORT") or "8080"
    if value.isascii() and value.isdigit() and int(value) < 65536:
        return int(value)
    faults.append(f"PORT must be a number from 0 (any free port) to 65535; it is {_shown(env, 'PORT')}")
    return 0


def _read_seconds(env: Mapping[str, str], name: str, default: float, faults: list[str]) -> float:
    try:
        seconds = float(env.get(name) or default)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 86400:
        faults.append(f"{name} must be seconds from 0.05 to 86400; it is {_shown(env, name)}")
    return seconds
