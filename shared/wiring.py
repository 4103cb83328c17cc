"""Builds everything that a deployed function needs from its settings, once per process."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shared.adapters.alert_webhook import AlertWebhook
from shared.adapters.database import PostgrestStore
from shared.adapters.notifications import Notifier
from shared.adapters.procedures import Database
from shared.adapters.signing_keys import read_signing_keys
from shared.adapters.user_tokens import mint_user_token, read_public_key
from shared.domain.credentials import TOKEN_NAME
from shared.domain.machine_config import build_env
from shared.domain.models import OperatorRequest, Row
from shared.fly.client import FlyClient
from shared.reconcile.reconciler import reconcile
from shared.reconcile.restart import restart
from shared.reconcile.result import Result
from shared.reconcile.worker import MachineInputs, Worker, make_holder
from shared.settings.config import Config
from shared.settings.validators import webhook_key

if TYPE_CHECKING:
    from shared.fleet.sweep import SweepReport


@dataclass(frozen=True)
class Runtime:
    """The use cases that the HTTP functions call."""

    config: Config
    worker: Worker

    def reconcile(self, user_id: UUID, deadline_s: float, request: OperatorRequest | None = None) -> Result:
        """Bring one user's app to the desired state. A `request` of an operator does not wait for a backoff to end.

        Raises TransientError if Fly or the database cannot be reached.
        """
        if request is not None and request.what == "restart":
            return restart(self.worker, user_id, deadline_s, request)
        return reconcile(self.worker, user_id, deadline_s, request=request)

    def find_operator(self, user_id: UUID) -> Mapping[str, Any]:
        """Whether this user is an operator now (`operator`), and their `email`. Raises HangarError."""
        found = self.worker.database.find_operator(user_id)
        return {"operator": found.is_operator, "email": found.email}

    def sweep(self, deadline_s: float, drain_only: bool, users: Sequence[UUID] = ()) -> "SweepReport":
        """Run one sweep, or with `drain_only` only the rows that are due, of these `users` if there are any."""
        from shared.fleet.sweep import Sweep  # noqa: PLC0415  only `health` sweeps, so only it pays for the import

        return Sweep(self.worker, time.monotonic() + deadline_s).run(drain_only=drain_only, users=users)


def make_runtime(config: Config, function: str) -> Runtime:
    """Build the runtime from the settings of one function."""
    database = Database(PostgrestStore(config.supabase_url, config.supabase_secret_key.get_secret_value()))
    return Runtime(
        config=config,
        worker=Worker(
            database=database,
            fly=FlyClient(
                config.fly_api_url,
                config.fly_api_token.get_secret_value(),
                org_slug=config.fly_org_slug,
                hidden=config.secret_values(),
            ),
            inputs=make_machine_inputs(config),
            notifier=Notifier(database, make_alert_webhooks(config)),
            holder=make_holder(function),
            read_signing_keys=lambda: read_signing_keys(config.token_issuer, config.user_token_key),
        ),
    )


def make_alert_webhooks(config: Config) -> tuple[AlertWebhook, ...]:
    """Where alerts are sent."""
    secret = config.alert_webhook_secret
    key = webhook_key(secret.get_secret_value()) if secret else None
    return tuple(AlertWebhook(url.get_secret_value(), key) for url in config.alert_webhook_urls)


def make_machine_inputs(config: Config) -> MachineInputs:
    """What every machine receives: environment and secrets with the token of its own user, never a service key."""

    def env(row: Row) -> Mapping[str, str]:
        return build_env(
            row,
            supabase_url=config.supabase_url,
            publishable_key=config.supabase_publishable_key,
            extra={**config.machine_env, **(row.extra_env or {})},
        )

    def secrets(row: Row, issued_at: datetime) -> Mapping[str, str]:
        token = mint_user_token(
            config.user_token_key,
            issuer=config.token_issuer,
            user_id=row.user_id,
            app_id=row.id,
            now=issued_at,
        )
        configured = {
            name: secret.get_secret_value()
            for name, secret in config.machine_secrets.items()
            if name not in row.own_secrets  # what an operator has set for this user stays
        }
        return {**configured, TOKEN_NAME: token}

    return MachineInputs(config.installation_id, env, secrets, lambda: read_public_key(config.user_token_key).kid)


@lru_cache(maxsize=1)
def get_runtime() -> Runtime:
    """The runtime of this process, built from its environment at the first call."""
    return make_runtime(Config.from_env(os.environ), os.environ.get("FUNCTION_TARGET", "function"))
