"""What each function does once, when its module is loaded: read the settings, set up the log, open its edge."""

import os
import sys
from collections.abc import Mapping

from shared.http.endpoint import Endpoint
from shared.http.operator_auth import OperatorToken, ProjectKeys
from shared.http.webhook_auth import Kind, Verifier, build_verifiers
from shared.observability.logging import configure_logs
from shared.settings.config import Config, ConfigError
from shared.wiring import get_runtime

SETTINGS_EXIT_CODE = 2


def read_settings(function: str, environ: Mapping[str, str] = os.environ) -> Config:
    """The settings of one function, from the environment, with the log set up so that it shows none of them.

    With missing or wrong settings the process ends here, before it listens: one line on standard error for each problem,
    exit code 2, no traceback and no value.
    """
    try:
        config = Config.from_env(environ)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{function}: {problem}", file=sys.stderr)  # noqa: T201  the log is not set up yet, and a person reads this
        raise SystemExit(SETTINGS_EXIT_CODE) from None
    configure_logs(config.secret_values())
    return config


def open_edge(function: str, allowed: frozenset[Kind], environ: Mapping[str, str] = os.environ) -> Endpoint:
    """The edge of one function; ends the process as `read_settings` does."""
    config = read_settings(function, environ)
    verifiers: tuple[Verifier, ...] = build_verifiers(config)
    if "operator" in allowed:
        verifiers = (*verifiers, make_operator_check(config))
    return Endpoint(
        function=function,
        verifiers=verifiers,
        allowed=allowed,
        origins=frozenset(config.admin_origins),
        deadline_s=config.deadline_s,
    )


def make_operator_check(config: Config) -> OperatorToken:
    """Who a Supabase access token proves: keys of the project, and at every call the database's word."""
    return OperatorToken(
        issuer=config.token_issuer,
        keys=ProjectKeys(config.token_issuer),
        find_operator=lambda user_id: get_runtime().find_operator(user_id),
    )
