"""What every deployment reads before it plans: environment, `.env.hangar`, `hangar.toml`, and the database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.client import Installation
from ops.connection import TargetError, load_target
from ops.deploy.common import InstallationState, Wanted, check_installation
from ops.deploy.database import DATABASE_URL, DatabaseStepError, read_installation, read_known
from ops.deploy.plans import read_plans
from ops.deploy.settings import (
    FunctionSettings,
    SettingsError,
    collect_settings,
    complete_settings,
    list_secret_names,
)
from ops.deploy.tools import Tools
from ops.project_files import ENV_FILE, PROJECT_FILE, read_env_file, read_project_file, read_text
from shared.domain.image_reference import MalformedReferenceError, parse_image_reference
from shared.domain.regions import explain_refused_region

# What each table of hangar.toml may have. [functions] and [plans] have their own checks.
_TABLES: Mapping[str, tuple[str, ...]] = {
    "backend": ("image", "regions"),
    "archive": ("bucket", "prefix", "endpoint", "region"),
    "deploy": ("fly", "cloud-run", "compose"),
    "functions": (),
    "plans": (),
}
_TARGETS: Mapping[str, tuple[str, ...]] = {
    "fly": ("organization", "name", "region", "image"),
    "cloud-run": ("project", "region", "name", "image"),
    "compose": ("host", "name", "image"),
}


@dataclass(frozen=True)
class Inputs:
    """Everything that a plan is made from, before the target's own state is read."""

    project: Mapping[str, Any]
    found: Mapping[str, str] = field(repr=False)
    wanted: Wanted
    installation: Installation
    state: InstallationState
    tools: Tools
    database_url: str | None = field(repr=False)
    notes: tuple[str, ...] = ()

    def complete(self, functions_url: Mapping[str, str], names: Mapping[str, str]) -> FunctionSettings:
        """The environment of the functions. Raises SettingsError if they would not start or must not be deployed so."""
        problems = check_installation(self.wanted, self.state, names)
        if problems:
            raise SettingsError(". ".join(problems))
        called = {name: url for name, url in functions_url.items() if name != "admin"}
        return complete_settings(self.found, functions_url=called, installation_id=self.state.installation_id)

    def choose(self, given: str | None, *keys: str) -> str | None:
        """The value of an option, else that of `hangar.toml`."""
        return given or read_text(self.project, *keys)

    def require(self, given: str | None, option: str, *keys: str) -> str:
        """As `choose`. Raises SettingsError, which names both places."""
        value = self.choose(given, *keys)
        if value is None:
            *table, key = keys
            raise SettingsError(
                f"{option} is missing: give it, or set {key} under [{'.'.join(table)}] in {PROJECT_FILE}"
            )
        return value


def load_inputs(environ: Mapping[str, str], *, dry_run: bool, folder: Path = Path()) -> Inputs:
    """Read all sources. Raises SettingsError, TargetError, ProjectFileError or, unless this is a dry run, DatabaseStepError."""
    secrets_file = read_env_file(folder / ENV_FILE)
    project = read_project_file(folder / PROJECT_FILE)
    _check_tables(project)
    found = collect_settings(environ, secrets_file, project)
    database_url = environ.get(DATABASE_URL, "").strip() or secrets_file.get(DATABASE_URL, "").strip() or None
    if "SUPABASE_URL" not in found:
        raise SettingsError("no installation is named: run `hangar init`, or set SUPABASE_URL")
    target = load_target({**environ, **found, "HANGAR_FUNCTIONS_URL": ""})
    installation = Installation(target)
    notes: tuple[str, ...] = ()
    try:
        state = read_installation(installation, database_url, secrets_file)
    except DatabaseStepError as error:
        if not dry_run:
            raise
        state, notes = (
            InstallationState(None, None, None, *read_known(secrets_file)),
            (f"the database could not be read, so its steps are shown as not done: {error}",),
        )
    hidden = [value for name, value in found.items() if name in list_secret_names()]
    tools = Tools(environ, [*hidden, *([database_url] if database_url else [])])
    return Inputs(project, found, _read_wanted(project, found), installation, state, tools, database_url, notes)


def _read_wanted(project: Mapping[str, Any], found: Mapping[str, str]) -> Wanted:
    image = read_text(project, "backend", "image")
    if image:
        check_image(image, f"image under [backend] in {PROJECT_FILE}")
    regions = read_text(project, "backend", "regions")
    if regions:
        check_regions(regions, f"regions under [backend] in {PROJECT_FILE}")
    return Wanted(found.get("FLY_ORG_SLUG", ""), image, regions, read_plans(project))


def _check_tables(project: Mapping[str, Any]) -> None:
    """A name that is mistyped would otherwise be as if it were not there. Raises SettingsError."""
    _check_names(project, tuple(_TABLES), "there")
    for name, keys in _TABLES.items():
        if keys and isinstance(project.get(name), Mapping):
            _check_names(project[name], keys, f"under [{name}]")
    targets = project.get("deploy")
    for name, table in targets.items() if isinstance(targets, Mapping) else ():
        if isinstance(table, Mapping):
            _check_names(table, _TARGETS[name], f"under [deploy.{name}]")


def _check_names(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    if unknown := sorted(set(table) - set(known)):
        raise SettingsError(
            f"{PROJECT_FILE} has {unknown[0]!r}, which means nothing {where}; known are {', '.join(known)}"
        )


def check_regions(text: str, source: str) -> None:
    """Raises SettingsError if this is no list of Fly's regions."""
    if refused := explain_refused_region(text):
        raise SettingsError(f"{source} is {text!r}: {refused}")


def check_image(image: str, source: str) -> None:
    """Raises SettingsError if this is not the name of an image."""
    try:
        parse_image_reference(image)
    except MalformedReferenceError as error:
        raise SettingsError(f"{source} is no image: {error}") from None


__all__ = ["DATABASE_URL", "Inputs", "TargetError", "check_image", "check_regions", "load_inputs"]
