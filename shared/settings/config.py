"""The settings of the functions: read once, judged together, and never shown.

`Config.from_env` is the only reader of the environment. Whatever is missing or wrong is collected and raised as one
`ConfigError`, a line for each variable with the form it should have, and never with the value it had.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self, TypeVar
from uuid import UUID

from shared.settings.secret import Secret
from shared.settings.validators import (
    Validator,
    base_url,
    env_map,
    fly_token,
    function_urls,
    image,
    installation_id,
    oauth_providers,
    origins,
    private_es256_key,
    publishable_key,
    region,
    secret_key,
    slug,
    static_secret,
    timeout_s,
    web_url,
    webhook_secret,
)

DEFAULT_FLY_API_URL = "https://api.machines.dev"
DEFAULT_TIMEOUT_S = 300.0
MIN_MARGIN_S = 5.0
MARGIN_SHARE = 0.1

# What the reconciler itself puts into a machine; an extra of the same name would silently change a user's machine.
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


T = TypeVar("T")


class ConfigError(Exception):
    """Settings are missing or wrong; `problems` has one sentence for each, naming variable and form, never a value."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Config:
    """The functions' settings, checked. URLs have no trailing slash; `deadline_s` is the time one request may use."""

    supabase_url: str
    supabase_secret_key: Secret
    supabase_publishable_key: str
    fly_api_token: Secret
    fly_org_slug: str
    installation_id: UUID
    webhook_secret: Secret
    user_token_key: Secret
    fly_api_url: str = DEFAULT_FLY_API_URL
    fly_default_region: str | None = None
    docker_image: str | None = None
    static_secret: Secret | None = None
    machine_env: Mapping[str, str] = field(default_factory=dict)
    machine_secrets: Mapping[str, Secret] = field(default_factory=dict)
    admin_origins: tuple[str, ...] = ()
    function_urls: Mapping[str, str] = field(default_factory=dict)
    admin_oauth_providers: tuple[str, ...] = ()
    alert_webhook_url: Secret | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S

    @property
    def deadline_s(self) -> float:
        """Seconds a request may work: the platform's time-out less a tenth, at least 5 s, for the answer."""
        return self.timeout_s - max(MIN_MARGIN_S, MARGIN_SHARE * self.timeout_s)

    @property
    def token_issuer(self) -> str:
        """The `iss` of every token of this Supabase project."""
        return f"{self.supabase_url}/auth/v1"

    def secret_values(self) -> tuple[str, ...]:
        """Every secret text of these settings, for the redaction of logs and for nothing else."""
        own = (
            self.supabase_secret_key,
            self.fly_api_token,
            self.webhook_secret,
            self.user_token_key,
            self.static_secret,
            self.alert_webhook_url,
            *self.machine_secrets.values(),
        )
        return tuple(secret.reveal() for secret in own if secret is not None)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read and check every setting.

        Raises `ConfigError` with all problems at once. White space around a value is dropped, because a secret manager's
        trailing newline is the commonest mistake; an empty value counts as not set.
        """
        read = _Reader(environ)
        key_name = read.first_set("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY")
        supabase_url = read.required("SUPABASE_URL", base_url)
        supabase_secret = read.required(key_name, secret_key, "SUPABASE_SECRET_KEY (or SUPABASE_SERVICE_ROLE_KEY)")
        supabase_publishable = read.required("SUPABASE_PUBLISHABLE_KEY", publishable_key)
        token = read.required("FLY_API_TOKEN", fly_token)
        org_slug = read.required("FLY_ORG_SLUG", slug)
        installation = read.required("HANGAR_INSTALLATION_ID", installation_id)
        # Required even beside a static secret: the database signs its own nudges and cron calls with it.
        webhook = read.required("HANGAR_WEBHOOK_SECRET", webhook_secret)
        user_token_key = read.required("HANGAR_USER_TOKEN_KEY", private_es256_key)
        fly_url = read.optional("FLY_API_URL", base_url) or DEFAULT_FLY_API_URL
        default_region = read.optional("FLY_DEFAULT_REGION", region)
        docker_image = read.optional("DOCKER_IMAGE", image)
        static = read.optional("HANGAR_STATIC_SECRET", static_secret)
        machine_env = read.optional("HANGAR_MACHINE_ENV", env_map) or {}
        machine_secrets = read.optional("HANGAR_MACHINE_SECRETS", env_map) or {}
        admin_origins = read.optional("HANGAR_ADMIN_ORIGINS", origins) or ()
        urls = read.optional("HANGAR_FUNCTIONS_URL", function_urls) or {}
        oauth = read.optional("HANGAR_ADMIN_OAUTH_PROVIDERS", oauth_providers) or ()
        alert_url = read.optional("HANGAR_ALERT_WEBHOOK_URL", web_url)
        timeout = read.optional("CLOUD_RUN_TIMEOUT_SECONDS", timeout_s) or DEFAULT_TIMEOUT_S
        own_secrets = frozenset(value for value in (supabase_secret, token, webhook, user_token_key, static) if value)
        read.judge_machine("HANGAR_MACHINE_ENV", machine_env, own_secrets, frozenset())
        read.judge_machine("HANGAR_MACHINE_SECRETS", machine_secrets, own_secrets, frozenset(machine_env))
        if read.problems or installation is None:
            raise ConfigError(tuple(read.problems))
        return cls(
            supabase_url=supabase_url or "",
            supabase_secret_key=Secret(supabase_secret or ""),
            supabase_publishable_key=supabase_publishable or "",
            fly_api_token=Secret(token or ""),
            fly_org_slug=org_slug or "",
            installation_id=installation,
            webhook_secret=Secret(webhook or ""),
            user_token_key=Secret(user_token_key or ""),
            fly_api_url=fly_url,
            fly_default_region=default_region,
            docker_image=docker_image,
            static_secret=Secret(static) if static else None,
            machine_env=MappingProxyType(dict(machine_env)),
            machine_secrets=MappingProxyType({name: Secret(value) for name, value in machine_secrets.items()}),
            admin_origins=admin_origins,
            function_urls=MappingProxyType(dict(urls)),
            admin_oauth_providers=oauth,
            alert_webhook_url=Secret(alert_url) if alert_url else None,
            timeout_s=timeout,
        )


class _Reader:
    """Reads one variable at a time and keeps every problem instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def _value(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def first_set(self, *names: str) -> str:
        """The first of these names that has a value, else the first of them."""
        return next((name for name in names if self._value(name)), names[0])

    def required(self, name: str, form: Validator[T], shown: str | None = None) -> T | None:
        """The value, or None and a problem noted."""
        if not self._value(name):
            self.problems.append(f"{shown or name} is missing: expected {form.expected}")
            return None
        return self.optional(name, form)

    def optional(self, name: str, form: Validator[T]) -> T | None:
        """The value; None when it is not set, or when it is wrong and a problem was noted."""
        value = self._value(name)
        if not value:
            return None
        parsed = form.parse(value)
        if parsed is None:
            self.problems.append(f"{name} is wrong: expected {form.expected}")
        return parsed

    def judge_machine(
        self, name: str, extras: Mapping[str, str], own_secrets: frozenset[str], taken: frozenset[str]
    ) -> None:
        """Refuse extras that would replace what Hangar sets itself, or that would carry its own keys into a user's machine."""
        reserved = sorted(RESERVED_MACHINE_NAMES & extras.keys())
        if reserved:
            self.problems.append(f"{name} is wrong: {', '.join(reserved)} is set by Hangar itself; leave it out")
        doubled = sorted(taken & extras.keys())
        if doubled:
            self.problems.append(
                f"{name} is wrong: {', '.join(doubled)} stands in HANGAR_MACHINE_ENV too; name it once"
            )
        leaked = sorted(key for key, value in extras.items() if value.strip() in own_secrets)
        if leaked:
            self.problems.append(
                f"{name} is wrong: {', '.join(leaked)} holds one of Hangar's own secrets, which no machine may see"
            )
