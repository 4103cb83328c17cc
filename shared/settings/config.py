"""The settings of the functions: each is declared once, all are read together, and no value is ever shown.

`Config` holds one line for each setting: its type, its default, its environment variable, its form and what it is for.
`docs/settings.md` is generated from these lines by `python -m tools.settings_doc`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, SecretStr, ValidationError, field_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from pydantic_core.core_schema import ValidationInfo

from shared.settings import validators as form
from shared.settings.validators import LookupScope, Validator

DEFAULT_TIMEOUT_S = 300.0
MIN_MARGIN_S = 5.0
MARGIN_SHARE = 0.1

# Variables that Hangar sets in every machine. An extra of the same name would silently change a user's machine.
RESERVED_MACHINE_NAMES = frozenset(
    {
        "USER_ID",
        "RUN_MODE",
        "HANGAR_APP_ID",
        "SUPABASE_URL",
        "SUPABASE_PUBLISHABLE_KEY",
        "SUPABASE_USER_TOKEN",
    }
)
_WRONG_FORM = "wrong_form"


class ConfigError(Exception):
    """Settings are missing or wrong. `problems` has one line per variable with the expected form, never a value."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Setting:
    """Declares one setting: environment variable, expected form, purpose, and a second accepted variable name."""

    name: str
    form: Validator[Any]
    doc: str
    alias: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The accepted variables; the first one that has a value is read."""
        return (self.name,) if self.alias is None else (self.name, self.alias)

    @property
    def title(self) -> str:
        """The accepted variables as text."""
        return self.name if self.alias is None else f"{self.name} (or {self.alias})"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Parse the text before pydantic checks the type."""
        return core_schema.no_info_before_validator_function(self._parse, handler(source))

    def _parse(self, value: object) -> object:
        if not isinstance(value, str):
            return value
        parsed = self.form.parse(value)
        if parsed is None:
            raise PydanticCustomError(_WRONG_FORM, "wrong form")
        return parsed


class Config(BaseModel):
    """The functions' settings, checked. URLs have no trailing slash."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    supabase_url: Annotated[
        str, Setting("SUPABASE_URL", form.base_url, "The Supabase project, `https://<ref>.supabase.co`.")
    ]
    supabase_secret_key: Annotated[
        SecretStr,
        Setting(
            "SUPABASE_SECRET_KEY",
            form.secret_key,
            "The key with which the functions call the database.",
            alias="SUPABASE_SERVICE_ROLE_KEY",
        ),
    ]
    supabase_publishable_key: Annotated[
        str, Setting("SUPABASE_PUBLISHABLE_KEY", form.publishable_key, "The public key. Every machine receives it.")
    ]
    fly_api_token: Annotated[
        SecretStr, Setting("FLY_API_TOKEN", form.fly_token, "The token of the Fly organisation that holds the apps.")
    ]
    fly_org_slug: Annotated[
        str, Setting("FLY_ORG_SLUG", form.slug, "The Fly organisation. It must equal `hangar.settings.fly_org_slug`.")
    ]
    installation_id: Annotated[
        UUID,
        Setting(
            "HANGAR_INSTALLATION_ID",
            form.installation_id,
            "Ties the functions to one database. If the two differ (a cloned database), Hangar changes nothing on Fly.",
        ),
    ]
    # Required even beside a static secret: the database signs its own calls with it.
    webhook_secret: Annotated[
        SecretStr,
        Setting(
            "HANGAR_WEBHOOK_SECRET",
            form.webhook_secret,
            "Verifies calls from the database. It must equal `hangar_webhook_secret` in Supabase Vault.",
        ),
    ]
    user_token_key: Annotated[
        SecretStr,
        Setting(
            "HANGAR_USER_TOKEN_KEY",
            form.private_es256_key,
            "A signing key of the Supabase project. Signs the token of each machine. Hosted Supabase needs the JWK.",
        ),
    ]
    fly_api_url: Annotated[
        str, Setting("FLY_API_URL", form.base_url, "The Machines API. Change it only to use a simulator.")
    ] = "https://api.machines.dev"
    static_secret: Annotated[
        SecretStr | None,
        Setting(
            "HANGAR_STATIC_SECRET",
            form.static_secret,
            "Accepted in the header `X-Hangar-Secret` from callers that cannot sign, such as Cloud Scheduler.",
        ),
    ] = None
    machine_env: Annotated[
        Mapping[str, str],
        Setting("HANGAR_MACHINE_ENV", form.env_map, "Environment variables that every machine receives."),
    ] = {}
    machine_secrets: Annotated[
        Mapping[str, SecretStr],
        Setting("HANGAR_MACHINE_SECRETS", form.env_map, "Fly secrets that every app receives."),
    ] = {}
    admin_origins: Annotated[
        tuple[str, ...],
        Setting("HANGAR_ADMIN_ORIGINS", form.origins, "Origins whose pages may call the functions (CORS)."),
    ] = ()
    function_urls: Annotated[
        Mapping[str, str],
        Setting(
            "HANGAR_FUNCTIONS_URL",
            form.function_urls,
            "Where the dashboard calls the functions. The same value as `hangar_functions_url` in Supabase Vault.",
        ),
    ] = {}
    admin_oauth_providers: Annotated[
        tuple[str, ...],
        Setting(
            "HANGAR_ADMIN_OAUTH_PROVIDERS",
            form.oauth_providers,
            "The Supabase Auth providers that the dashboard offers for signing in.",
        ),
    ] = ()
    alert_webhook_urls: Annotated[
        tuple[SecretStr, ...],
        Setting(
            "HANGAR_ALERT_WEBHOOK_URL",
            form.web_urls,
            "Slack-compatible webhooks. Each receives every alert, and is tried again until it accepts it.",
        ),
    ] = ()
    alert_webhook_secret: Annotated[
        SecretStr | None,
        Setting(
            "HANGAR_ALERT_WEBHOOK_SECRET",
            form.webhook_secret,
            "Signs the alerts in the form of Standard Webhooks, for a receiver that checks it. Without it they are not signed.",
        ),
    ] = None
    image_lookup: Annotated[
        LookupScope | None,
        Setting(
            "HANGAR_IMAGE_LOOKUP",
            form.image_lookup,
            "Which registries are asked about the image of a release: all, only those on this machine (loopback), or none (off). "
            "Without it `all`, and `loopback` if SUPABASE_URL is on this machine.",
        ),
    ] = None
    timeout_s: Annotated[
        float,
        Setting(
            "CLOUD_RUN_TIMEOUT_SECONDS",
            form.timeout_s,
            "The platform's request time-out. Hangar ends its work 10 % earlier, at least 5 s.",
        ),
    ] = DEFAULT_TIMEOUT_S

    @field_validator("machine_env", "machine_secrets")
    @classmethod
    def _check_machine_extras(
        cls, extras: Mapping[str, str | SecretStr], info: ValidationInfo
    ) -> Mapping[str, str | SecretStr]:
        """Reject extras that replace a variable of Hangar's, or that carry one of its keys into a user's machine."""
        own_secrets = {value.get_secret_value() for value in info.data.values() if isinstance(value, SecretStr)}
        texts = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in extras.items()
        }
        repeated = info.data.get("machine_env", {}).keys() & extras.keys()
        leaking = {name for name, text in texts.items() if text.strip() in own_secrets}
        found = (
            (RESERVED_MACHINE_NAMES & extras.keys(), "is set by Hangar itself; leave it out"),
            (repeated, "is also in HANGAR_MACHINE_ENV; set it in one of the two"),
            (leaking, "holds one of Hangar's own secrets, which no machine may receive"),
        )
        reasons = [f"{', '.join(sorted(names))} {reason}" for names, reason in found if names]
        if reasons:
            raise PydanticCustomError("machine_extras", "{reasons}", {"reasons": "; ".join(reasons)})
        return extras

    @property
    def deadline_s(self) -> float:
        """Seconds that one request may work; the margin to the platform's time-out is for the answer."""
        return self.timeout_s - max(MIN_MARGIN_S, MARGIN_SHARE * self.timeout_s)

    @property
    def token_issuer(self) -> str:
        """The `iss` of every token of this Supabase project."""
        return f"{self.supabase_url}/auth/v1"

    def secret_values(self) -> tuple[str, ...]:
        """Every secret text of these settings. Only for the redaction of logs and error messages."""
        values = [getattr(self, field) for field in type(self).model_fields]
        texts = [each for value in values for each in _list_values(value)]
        return tuple(text.get_secret_value() for text in texts if isinstance(text, SecretStr))

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read and check every setting. Raises ConfigError with all problems at once.

        White space around a value is dropped, because values from secret managers often end with a newline. An empty
        value counts as not set.
        """
        values: dict[str, str] = {}
        names: dict[str, str] = {}
        for field, setting in declarations():
            texts = {name: environ.get(name, "").strip() for name in setting.names}
            names[field] = next((name for name, text in texts.items() if text), setting.title)
            if text := texts.get(names[field]):
                values[field] = text
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
        settings = dict(declarations())
        # Raised outside the except block: the validation error holds the values.
        raise ConfigError(tuple(_explain(each, names, settings) for each in found))


def _list_values(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, tuple) else (value,)


def declarations() -> Iterator[tuple[str, Setting]]:
    """Each field of `Config` with its declaration, in order."""
    for field, info in Config.model_fields.items():
        yield field, next(each for each in info.metadata if isinstance(each, Setting))


def _explain(error: Mapping[str, Any], names: Mapping[str, str], settings: Mapping[str, Setting]) -> str:
    """One line about one variable, without its value."""
    field = error["loc"][0]
    expected = f"expected {settings[field].form.expected}"
    if error["type"] == "missing":
        return f"{names[field]} is missing: {expected}"
    return f"{names[field]} is wrong: {error['msg'] if error['type'] == 'machine_extras' else expected}"
