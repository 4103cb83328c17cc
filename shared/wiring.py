"""Wires the parts together for a deployed function: settings to adapters to reconciler and sweep. Once a process."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from shared.adapters.database import PostgrestStore
from shared.adapters.notifications import Notifier
from shared.adapters.procedures import Database
from shared.adapters.user_tokens import mint_user_token
from shared.domain.machine_config import build_env
from shared.domain.models import OperatorRequest, Row
from shared.fleet.sweep import Sweep, SweepReport
from shared.fly.client import FlyClient
from shared.reconcile.executor import MachineInputs
from shared.reconcile.reconciler import Reconciler
from shared.reconcile.result import Result
from shared.reconcile.worker import make_holder
from shared.settings.config import Config


@dataclass(frozen=True)
class Runtime:
    """What the HTTP functions call."""

    config: Config
    reconciler: Reconciler

    def reconcile(self, user_id: UUID, deadline_s: float, asked: OperatorRequest | None = None) -> Result:
        """Bring one user's app to what the database asks for; `asked` when an operator wants it, and waits for nothing.

        Raises TransientError when Fly or the database is out of reach.
        """
        return self.reconciler.reconcile(user_id, deadline_s, force=asked is not None, asked=asked)

    def find_operator(self, user_id: UUID) -> Mapping[str, Any]:
        """Whether this user may operate Hangar now, and their e-mail. Raises what the database raises."""
        found = self.reconciler.database.find_operator(user_id)
        return {"operator": found.is_operator, "email": found.email}

    def sweep(self, deadline_s: float, drain_only: bool) -> SweepReport:
        """One sweep, or only what is due."""
        return Sweep(self.reconciler, time.monotonic() + deadline_s).run(drain_only=drain_only)


def make_runtime(config: Config, function: str) -> Runtime:
    """The runtime for these settings."""
    database = Database(PostgrestStore(config.supabase_url, config.supabase_secret_key.reveal()))
    webhook = config.alert_webhook_url
    return Runtime(
        config=config,
        reconciler=Reconciler(
            database=database,
            fly=FlyClient(
                config.fly_api_url,
                config.fly_api_token.reveal(),
                org_slug=config.fly_org_slug,
                hidden=config.secret_values(),
            ),
            provisions=make_machine_inputs(config),
            alerts=Notifier(database, webhook.reveal() if webhook else None),
            holder=make_holder(function),
        ),
    )


def make_machine_inputs(config: Config) -> MachineInputs:
    """What every machine gets: its environment, and the credentials of its own user, never a service key."""

    def env(row: Row) -> Mapping[str, str]:
        return build_env(
            row,
            supabase_url=config.supabase_url,
            publishable_key=config.supabase_publishable_key,
            extra=config.machine_env,
        )

    def secrets(row: Row) -> Mapping[str, str]:
        token = mint_user_token(
            config.user_token_key,
            issuer=config.token_issuer,
            user_id=row.user_id,
            app_id=row.id,
            now=datetime.now(UTC),
        )
        configured = {name: secret.reveal() for name, secret in config.machine_secrets.items()}
        return {**configured, "SUPABASE_USER_TOKEN": token}

    return MachineInputs(config.installation_id, env, secrets)


@lru_cache(maxsize=1)
def get_runtime() -> Runtime:
    """The process's one runtime, from its environment."""
    return make_runtime(Config.from_env(os.environ), os.environ.get("FUNCTION_TARGET", "function"))
