"""Opens the archive's bucket: from the environment, else from `.env.hangar` and the table [archive] of `hangar.toml`."""

from collections.abc import Mapping
from pathlib import Path

from ops.archive.bucket import Bucket
from ops.archive.location import Location, load_location
from ops.connection import TargetError, read_own_variables
from ops.project_files import PROJECT_FILE, ProjectFileError, read_project_file, read_text

_KEYS = ("bucket", "prefix", "endpoint", "region")
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


def read_archive_variables(environ: Mapping[str, str], folder: Path = Path()) -> dict[str, str]:
    """The archive's variables. What the environment sets wins, then `.env.hangar`, then `hangar.toml`.

    The two files are read only if they name the installation that is meant. Raises TargetError.
    """
    variables, has_files = read_own_variables(environ, folder)
    found = {name: value for name, value in variables.items() if value.strip()}
    return {**(_read_table(folder / PROJECT_FILE) if has_files else {}), **found}


def has_archive(environ: Mapping[str, str]) -> bool:
    """Whether a bucket is named."""
    return "HANGAR_ARCHIVE_BUCKET" in read_archive_variables(environ)


def open_bucket(environ: Mapping[str, str]) -> Bucket:
    """The bucket that the variables name. Raises TargetError, which names the variable and its form."""
    variables = read_archive_variables(environ)
    location: Location = load_location(variables)
    # boto3 finds credentials of the environment by itself; those of the file are handed over.
    from_file = not any(environ.get(name, "").strip() for name in _CREDENTIALS)
    return Bucket(
        location, credentials={name: variables[name] for name in _CREDENTIALS if from_file and name in variables}
    )


def _read_table(path: Path) -> dict[str, str]:
    try:
        project = read_project_file(path)
        table = project.get("archive", {})
        if not isinstance(table, Mapping):
            raise TargetError(f"{path}: archive must be a table")
        if unknown := sorted(set(table) - set(_KEYS)):
            raise TargetError(
                f"{path}: [archive] has {unknown[0]}; it may have {', '.join(_KEYS)}. Credentials belong in .env.hangar"
            )
        values = {f"HANGAR_ARCHIVE_{key.upper()}": read_text(project, "archive", key, path=path) for key in _KEYS}
    except ProjectFileError as error:
        raise TargetError(str(error)) from None
    return {name: value for name, value in values.items() if value}
