"""What each function does once, when its module is loaded: read the settings, set up the log, make its endpoint."""

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
    """The settings of one function, from the environment. Sets up the log so that it shows no secret.

    If settings are missing or wrong, the process ends here, before it listens. It prints one line on standard error for each
    problem, without a traceback and without any value, and exits with code 2.
    """
    try:
        config = Config.from_env(environ)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{function}: {problem}", file=sys.stderr)  # noqa: T201  the log is not set up yet
        raise SystemExit(SETTINGS_EXIT_CODE) from None
    configure_logs(config.secret_values())
    return config


def open_endpoint(function: str, allowed: frozenset[Kind], environ: Mapping[str, str] = os.environ) -> Endpoint:
    """The endpoint of one function. Ends the process as `read_settings` does."""
    config = read_settings(function, environ)
    verifiers: tuple[Verifier, ...] = build_verifiers(config)
    if "operator" in allowed:
        verifiers = (*verifiers, make_operator_verifier(config))
    return Endpoint(
        function=function,
        verifiers=verifiers,
        allowed=allowed,
        origins=frozenset(config.admin_origins),
        deadline_s=config.deadline_s,
    )


def make_operator_verifier(config: Config) -> OperatorToken:
    """The check of an operator's access token: by the project's keys, and at every call by the list of operators."""
    return OperatorToken(
        issuer=config.token_issuer,
        keys=ProjectKeys(config.token_issuer),
        find_operator=lambda user_id: get_runtime().find_operator(user_id),
    )
