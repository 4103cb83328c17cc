"""What the command knows about the installation: the variables of the shell, else the file of the local cloud."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ops.connection import DEV_FILE, TargetError, find_variables, load_target
from ops.deploy.settings import SettingsError, check_settings_table
from ops.project_files import ProjectFileError, read_project_file
from shared.doctor.surroundings import Surroundings
from shared.settings import validators as form
from shared.settings.config import Config, ConfigError

_MISSING = re.compile(r"(.+?) is missing: ")


def read_surroundings(environ: Mapping[str, str], dev_file: Path = DEV_FILE) -> Surroundings:
    """The surroundings, with what is wrong with each variable. Raises TargetError if no installation is named at all."""
    variables, source = find_variables(environ, dev_file)
    if variables is not None:
        if source == "the environment":
            return _read_environment(variables)
        settings, problems = _read_project()
        found = _read_environment({**settings, **variables})
        return replace(found, problems=(*problems, *found.problems))
    load_target(environ, dev_file)  # raises with an explanation if the local cloud is not running any more
    return _read_dev_file(json.loads(dev_file.read_text()))


def _read_project() -> tuple[dict[str, str], tuple[str, ...]]:
    """The settings of the functions that `hangar.toml` has, and for what `hangar deploy` would refuse them."""
    try:
        functions = read_project_file().get("functions", {})
    except ProjectFileError as error:
        raise TargetError(str(error)) from None
    problems: tuple[str, ...] = ()
    try:
        check_settings_table(functions)
    except SettingsError as error:
        problems = (str(error),)
    settings = functions if isinstance(functions, Mapping) else {}
    return {name: value for name, value in settings.items() if isinstance(value, str)}, problems


def _read_environment(environ: Mapping[str, str]) -> Surroundings:
    values = {name: text.strip() for name, text in environ.items()}
    key = values.get("SUPABASE_SECRET_KEY") or values.get("SUPABASE_SERVICE_ROLE_KEY") or ""
    if not key:
        raise TargetError("SUPABASE_URL is set but SUPABASE_SECRET_KEY is not: set it to the project's sb_secret_… key")
    if form.base_url.parse(values["SUPABASE_URL"]) is None or not re.fullmatch(r"[\x21-\x7e]+", key):
        raise TargetError(
            "SUPABASE_URL must be https://… and SUPABASE_SECRET_KEY one line without spaces: copy them again"
        )
    problems, missing = _check_forms(environ)
    urls = form.web_urls.parse(values.get("HANGAR_ALERT_WEBHOOK_URL", ""))
    lookup: Any = form.image_lookup.parse(values.get("HANGAR_IMAGE_LOOKUP", ""))
    token = values.get("FLY_API_TOKEN", "")
    return Surroundings(
        supabase_url=values["SUPABASE_URL"].rstrip("/"),
        secret_key=key,
        publishable_key=values.get("SUPABASE_PUBLISHABLE_KEY") or None,
        user_token_key=form.private_es256_key.parse(environ.get("HANGAR_USER_TOKEN_KEY", "")),
        fly_api_url=form.base_url.parse(values.get("FLY_API_URL", "")) or "https://api.machines.dev",
        fly_token=form.fly_token.parse(token),
        fly_org=form.slug.parse(values.get("FLY_ORG_SLUG", "")),
        installation_id=values.get("HANGAR_INSTALLATION_ID") or None,
        webhook_secret=values.get("HANGAR_WEBHOOK_SECRET") or None,
        alert_urls=urls if urls or values.get("HANGAR_ALERT_WEBHOOK_URL") else None,
        functions=form.function_urls.parse(values.get("HANGAR_FUNCTIONS_URL", "")) or {},
        image_lookup=lookup,
        problems=problems,
        missing=missing,
    )


def _check_forms(environ: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is wrong with the variables that are set, and the names of those that a function needs and this shell lacks."""
    try:
        Config.from_env(environ)
    except ConfigError as error:
        missing = [match[1] for line in error.problems if (match := _MISSING.match(line))]
        return tuple(line for line in error.problems if not _MISSING.match(line)), tuple(missing)
    return (), ()


def _read_dev_file(dev: Mapping[str, Any]) -> Surroundings:
    """The local cloud of this folder, whose file holds everything that a function's settings hold but the installation's id."""
    return Surroundings(
        supabase_url=dev["supabase_url"],
        secret_key=dev["secret_key"],
        publishable_key=dev["publishable_key"],
        user_token_key=dev["auth_signing_key"],
        fly_api_url=dev["fly_api_url"],
        fly_token=dev["fly_api_token"],
        fly_org=dev["fly_org"],
        webhook_secret=dev["webhook_secret"],
        alert_urls=(dev["alerts_url"],) if dev.get("alerts_url") else (),
        functions={name: url for name, url in dev["functions"].items() if url},
        image_lookup="loopback",
        missing=("HANGAR_INSTALLATION_ID",),
    )
