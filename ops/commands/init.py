"""`hangar init`: asks for what an installation needs, checks it live, and writes `hangar.toml` and `.env.hangar`."""

import json
import logging
import os
from collections.abc import Callable

import click

from ops.binding_text import describe_host
from ops.cli_support import can_ask, report_errors, stop
from ops.deploy.database import DatabaseStepError, open_database
from ops.deploy.inputs import DATABASE_URL, check_image, check_regions
from ops.deploy.plans import FORM as _PLAN_FORM
from ops.deploy.plans import format_plans, parse_plans
from ops.deploy.settings import SettingsError
from ops.exit_codes import EXIT_USAGE
from ops.project_files import (
    ENV_FILE,
    PROJECT_FILE,
    ProjectFileError,
    add_to_env_file,
    find_unfit,
    hold_folder,
    read_env_file,
    read_project_file,
    read_text,
    write_public,
)
from ops.setup import checks
from ops.setup.secrets import MAKERS
from ops.setup.values import check_project_url, clean, describe
from shared.settings import validators as form

_ALERT = "HANGAR_ALERT_WEBHOOK_URL"
_FLY_API = "https://api.machines.dev"
# The option of each variable that is no secret.
_OPTIONS = {"SUPABASE_URL": "supabase-url", "SUPABASE_PUBLISHABLE_KEY": "publishable-key", "FLY_ORG_SLUG": "fly-org"}
_NEXT = (
    f"Next: import HANGAR_USER_TOKEN_KEY of {ENV_FILE} into Supabase (Settings, JWT Keys, Create Standby Key), then "
    "run `hangar install`, bind your subscriptions, and run `hangar deploy` (docs/deploy.md)"
)


@click.command()
@click.option("--supabase-url", help="The Supabase project, https://REF.supabase.co.")
@click.option("--publishable-key", help="The project's publishable key, sb_publishable_….")
@click.option("--fly-org", help="The Fly organisation of the users' apps.")
@click.option("--image", help="The image of the users' backend. It has no default.")
@click.option("--regions", help="Where the users' apps run, in order of preference.  [default: sin]")
@click.option(
    "--plan",
    "plans",
    multiple=True,
    metavar="TIER=SIZE:MB",
    help="A plan, like pro=shared-cpu-2x:1024. May be repeated.",
)
@click.option("--test-alert", is_flag=True, help="Send a test message to the alert address.")
@click.option("--yes", is_flag=True, help="Ask nothing: take options, environment and existing files.")
@report_errors
def init(
    supabase_url: str | None,
    publishable_key: str | None,
    fly_org: str | None,
    image: str | None,
    regions: str | None,
    plans: tuple[str, ...],
    test_alert: bool,
    yes: bool,
) -> None:
    """Write hangar.toml and .env.hangar, after a live check of every value.

    Secrets have no option, because others on this computer can see options. SUPABASE_SECRET_KEY, SUPABASE_DB_URL and
    FLY_API_TOKEN come from the environment, or are asked for without being shown; so does HANGAR_ALERT_WEBHOOK_URL, which may
    be left out. A plan may also have a price, pro=shared-cpu-2x:1024:29, or no app, free=none. Values that
    the two files already have are kept.
    """
    logging.getLogger("hangar").addHandler(logging.NullHandler())  # what a check finds is said once, below its question
    try:
        if not os.access(".", os.W_OK):
            stop(
                EXIT_USAGE,
                "this folder cannot be written, and the two files are written here. Change to another folder",
            )
        with hold_folder():
            kept, on_file = read_env_file(), _read_kept_plain()
            form_ = _Form({**on_file, **kept}, yes=yes)
            form_.take("SUPABASE_URL", supabase_url, "Supabase URL", check_project_url)
            form_.take(
                "SUPABASE_SECRET_KEY", None, "Supabase secret key",
                lambda key: checks.check_supabase(form_.values["SUPABASE_URL"], key), hidden=True, after="SUPABASE_URL",
            )  # fmt: skip
            url = form_.values["SUPABASE_URL"]
            publishable = form_.take(
                "SUPABASE_PUBLISHABLE_KEY",
                publishable_key,
                "Supabase publishable key",
                lambda key: checks.check_publishable(key, url),
            )
            form_.take(
                DATABASE_URL,
                None,
                "Database URL (role postgres)",
                lambda text: checks.check_database(text, url),
                hidden=True,
            )
            form_.take(
                "FLY_ORG_SLUG",
                fly_org,
                "Fly organisation of the users' apps",
                _must(form.slug.parse, form.slug.expected),
            )
            api = os.environ.get("FLY_API_URL") or _FLY_API
            token = form_.take(
                "FLY_API_TOKEN", None, "Fly token", lambda text: checks.check_fly(api, text, form_.values["FLY_ORG_SLUG"]),
                hidden=True, after="FLY_ORG_SLUG",
            )  # fmt: skip
            backend = form_.take("--image", image, "Image of the backend", lambda text: _check_image(text, url, token))
            places = form_.take("--regions", regions, "Regions", _check_regions, default="sin")
            typed = form_.take(
                "--plan", ",".join(plans) or None, f"Plans, with commas: {_PLAN_FORM}", _check_plans, default=""
            )
            alert = form_.take(
                _ALERT, None, "Alert address, a webhook (may be empty)",
                lambda text: checks.check_alert_url(text, send=test_alert) if text else None, hidden=True, default="",
            )  # fmt: skip
            _write(
                form_,
                kept,
                {
                    "publishable": publishable,
                    "org": form_.values["FLY_ORG_SLUG"],
                    "image": backend,
                    "regions": places,
                    "alert": alert,
                    "plans": typed,
                },
            )
            _show_host(form_.values[DATABASE_URL])
            click.echo(_NEXT)
    except (ProjectFileError, SettingsError) as error:
        stop(EXIT_USAGE, str(error))


class _Form:
    """Takes each value from a flag, the environment, the existing file or a prompt, and checks it before the next one."""

    def __init__(self, kept: dict[str, str], *, yes: bool) -> None:
        self.kept, self.values, self._asks = kept, dict[str, str](), not yes and can_ask()
        self._questions = dict[str, tuple[str, Callable[[str], str | None]]]()

    def take(
        self,
        name: str,
        given: str | None,
        label: str,
        check: Callable[[str], str | None],
        *,
        hidden: bool = False,
        default: str | None = None,
        after: str | None = None,
    ) -> str:
        """The value of `name`. Its check also judges the value of `after`, so at a terminal both are asked for again."""
        self._questions[name] = (label, check)
        value = given or os.environ.get(name, "").strip() or self.kept.get(name) or (None if self._asks else default)
        value = None if value is None else clean(value)
        while True:
            if value is None and not self._asks and default is None:
                flag = name if name.startswith("--") or hidden else f"{name} or --{_OPTIONS[name]}"
                stop(EXIT_USAGE, f"{flag} is missing: {label}. Nothing was written")
            if value is None and self._asks:
                value = str(click.prompt(label, hide_input=hidden, default=default, show_default=bool(default)))
                value = clean(value)
            text = value or default or ""
            problem = find_unfit(name, text) or check(text)
            if problem is None:
                self.values[name] = text
                return text
            problem = problem if name.lstrip("-") in problem else f"{name} is wrong: {problem}"
            if not self._asks:
                stop(EXIT_USAGE, f"{problem}. Nothing was written")
            click.echo(problem, err=True)
            value = None
            if after is not None:
                self._ask_again(after)

    def _ask_again(self, name: str) -> None:
        """Ask for a value that has one. Enter keeps it."""
        label, check = self._questions[name]
        while True:
            text = clean(str(click.prompt(f"{label} (Enter keeps it)", default=self.values[name])))
            problem = find_unfit(name, text) or check(text)
            if problem is None:
                self.values[name] = text
                return
            click.echo(problem, err=True)


def _read_kept_plain() -> dict[str, str]:
    """What `hangar.toml` has already, by the names of the form. Raises ProjectFileError."""
    project = read_project_file()
    places = {
        "SUPABASE_PUBLISHABLE_KEY": ("functions", "SUPABASE_PUBLISHABLE_KEY"),
        "FLY_ORG_SLUG": ("functions", "FLY_ORG_SLUG"),
        "--image": ("backend", "image"),
        "--regions": ("backend", "regions"),
    }
    found = {name: read_text(project, *keys) for name, keys in places.items()}
    return {name: value for name, value in found.items() if value}


def _must(parse: Callable[[str], object], expected: str) -> Callable[[str], str | None]:
    return lambda text: None if parse(text) is not None else f"expected {expected}, not {describe(text)}"


def _check_image(image: str, supabase_url: str, token: str) -> str | None:
    try:
        check_image(image, "--image")
    except SettingsError as error:
        return str(error)
    return checks.check_backend_image(image, supabase_url, token)


def _check_plans(text: str) -> str | None:
    try:
        parse_plans(text)
    except SettingsError as error:
        return str(error)
    return None


def _check_regions(text: str) -> str | None:
    try:
        check_regions(text, "--regions")
    except SettingsError as error:
        return str(error)
    return None


def _write(form_: _Form, kept: dict[str, str], plain: dict[str, str]) -> None:
    names = ("SUPABASE_URL", "SUPABASE_SECRET_KEY", DATABASE_URL, "FLY_API_TOKEN")
    wanted = {name: form_.values[name] for name in names}
    if plain["alert"]:
        wanted[_ALERT] = plain["alert"]
    wanted |= {name: os.environ.get(name, "").strip() or make() for name, make in MAKERS.items() if name not in kept}
    new = {name: value for name, value in wanted.items() if name not in kept}
    add_to_env_file(new)
    for name in [*new, *(each for each in kept if each in wanted or each in MAKERS)]:
        differs = name in wanted and name in kept and kept[name] != wanted[name]
        note = (
            "written" if name in new else "kept; the other value that was given is not written" if differs else "kept"
        )
        click.echo(f"{ENV_FILE}: {name} {note}")
    if PROJECT_FILE.exists():
        click.echo(f"{PROJECT_FILE} kept: it exists already")
        kept_plain = _read_kept_plain()
        for name in sorted(name for name, value in kept_plain.items() if form_.values.get(name, value) != value):
            click.echo(
                f"{PROJECT_FILE}: {name} is {kept_plain[name]!r} there; the other value that was given is not written"
            )
    else:
        text = (
            f"[backend]\nimage = {json.dumps(plain['image'])}\nregions = {json.dumps(plain['regions'])}\n\n[functions]\n"
            f"SUPABASE_PUBLISHABLE_KEY = {json.dumps(plain['publishable'])}\nFLY_ORG_SLUG = {json.dumps(plain['org'])}\n"
            + format_plans(parse_plans(plain["plans"]))
        )
        write_public(PROJECT_FILE, text)
        click.echo(f"{PROJECT_FILE} written")


def _show_host(database_url: str) -> None:
    """Where the subscriptions may be. What cannot be read is a line, because nothing of the files depends on it."""
    try:
        with open_database(database_url) as session:
            lines = describe_host(session)
    except DatabaseStepError as error:
        lines = [f"Your tables could not be examined for subscriptions: {error}"]
    click.echo("\n".join(lines))
