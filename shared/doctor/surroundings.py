"""What the checks outside the database need to know, from a shell, the local cloud, or the settings of a function."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from shared.settings.config import Config
from shared.settings.validators import LookupScope


@dataclass(frozen=True)
class Surroundings:
    """Addresses and keys. None where this process does not have the value. The repr shows no key."""

    supabase_url: str
    secret_key: str = field(repr=False)
    publishable_key: str | None = field(default=None, repr=False)
    user_token_key: str | None = field(default=None, repr=False)
    fly_api_url: str = "https://api.machines.dev"
    fly_token: str | None = field(default=None, repr=False)
    fly_org: str | None = None
    installation_id: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    alert_urls: tuple[str, ...] | None = field(default=None, repr=False)
    functions: Mapping[str, str] = field(default_factory=dict)
    image_lookup: LookupScope | None = None
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @classmethod
    def of_config(cls, config: Config) -> Self:
        """Those of a function, whose settings were checked when it started."""
        return cls(
            supabase_url=config.supabase_url,
            secret_key=config.supabase_secret_key.get_secret_value(),
            publishable_key=config.supabase_publishable_key,
            user_token_key=config.user_token_key.get_secret_value(),
            fly_api_url=config.fly_api_url,
            fly_token=config.fly_api_token.get_secret_value(),
            fly_org=config.fly_org_slug,
            installation_id=str(config.installation_id),
            webhook_secret=config.webhook_secret.get_secret_value(),
            alert_urls=tuple(url.get_secret_value() for url in config.alert_webhook_urls),
            functions=dict(config.function_urls),
            image_lookup=config.image_lookup,
        )
