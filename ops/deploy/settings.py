"""What a deployment gives to the functions: settings and secrets, from the environment, `.env.hangar` and `hangar.toml`."""

import hashlib
import hmac
import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from shared.settings.config import Config, ConfigError, declarations

TIMEOUT_S = 300
FINGERPRINT = "HANGAR_DEPLOYMENT"
# Known only to the plan, so nobody has to fill them in.
_COMPUTED = ("HANGAR_INSTALLATION_ID", "HANGAR_FUNCTIONS_URL", "CLOUD_RUN_TIMEOUT_SECONDS")
_ANY_UUID = "00000000-0000-4000-8000-000000000000"


class SettingsError(Exception):
    """Settings are missing or wrong. The message has one sentence for each and no value."""


@dataclass(frozen=True)
class FunctionSettings:
    """Environment of the functions: what may be shown, and what may not."""

    plain: Mapping[str, str]
    secret: Mapping[str, str] = field(repr=False)

    def fingerprint(self, *parts: Any) -> str:
        """A short text that changes with every setting, secret and part. It reveals none, because a secret keys it."""
        document = json.dumps([dict(self.plain), dict(self.secret), parts], sort_keys=True, default=str)
        key = self.secret["HANGAR_WEBHOOK_SECRET"].encode()
        return hmac.new(key, document.encode(), hashlib.sha256).hexdigest()[:20]


def list_secret_names() -> frozenset[str]:
    """The variables of the functions whose values are secret."""
    return frozenset(
        name
        for field_name, setting in declarations()
        if _is_secret(Config.model_fields[field_name].annotation)
        for name in setting.names
    )


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_is_secret(part) for part in typing.get_args(annotation))


def collect_settings(
    environ: Mapping[str, str], secrets_file: Mapping[str, str], project: Mapping[str, Any]
) -> dict[str, str]:
    """Every setting of the functions that one of the three sources has; an earlier source wins.

    Raises SettingsError when `hangar.toml` holds a secret or a name that is no setting.
    """
    table = project.get("functions", {})
    check_settings_table(table)
    found = {}
    for _, setting in declarations():
        for source in (environ, secrets_file, table):
            value = next((source[name].strip() for name in setting.names if source.get(name, "").strip()), None)
            if value:
                found[setting.name] = value
                break
    return found


def check_settings_table(table: Any) -> None:
    """Raises SettingsError if this cannot be [functions] of `hangar.toml`: no table, a secret, a name or type that is wrong."""
    known = {name for _, setting in declarations() for name in setting.names}
    if not isinstance(table, Mapping):
        raise SettingsError("hangar.toml: [functions] must be a table of settings")
    for name, value in table.items():
        if name in list_secret_names():
            raise SettingsError(f"hangar.toml: {name} is a secret. Move it to .env.hangar and replace the secret")
        if name not in known:
            raise SettingsError(
                f"hangar.toml: [functions] has {name}, which is no setting (docs/settings.md lists them)"
            )
        if not isinstance(value, str):
            raise SettingsError(f"hangar.toml: {name} must be a text in quotes")


def complete_settings(
    found: Mapping[str, str], *, functions_url: Mapping[str, str], installation_id: str | None
) -> FunctionSettings:
    """The environment that the functions start with. Raises SettingsError if they would not start.

    Without `installation_id` (a dry run without a database) the setting shows where the value comes from.
    """
    values = {name: value for name, value in found.items() if name not in _COMPUTED}
    values["HANGAR_FUNCTIONS_URL"] = json.dumps(dict(functions_url), separators=(",", ":"))
    values["CLOUD_RUN_TIMEOUT_SECONDS"] = str(TIMEOUT_S)
    try:
        Config.from_env({**values, "HANGAR_INSTALLATION_ID": installation_id or _ANY_UUID})
    except ConfigError as error:
        hint = "Run `hangar init`, or set them in the environment, in .env.hangar or (no secrets) in hangar.toml [functions]"
        raise SettingsError(". ".join((*error.problems, hint))) from None
    values["HANGAR_INSTALLATION_ID"] = installation_id or "<installation_id of hangar.settings>"
    secret = list_secret_names()
    return FunctionSettings(
        plain={name: value for name, value in sorted(values.items()) if name not in secret},
        secret={name: _one_line(value) for name, value in sorted(values.items()) if name in secret},
    )


def _one_line(value: str) -> str:
    """JSON without line breaks, as an environment file needs it. Other values are as they are."""
    if not re.match(r"\s*[{\[]", value):
        return value
    return json.dumps(json.loads(value), separators=(",", ":"))
