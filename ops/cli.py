"""`hangar`, the operator's command line: one command family a module, wired together here.

Exit codes: 0 ok · 1 some failed · 2 usage or settings · 3 refused (paused, brake, limits) · 130 interrupted.
"""

import sys

import click

from ops.cli_support import EXIT_INTERRUPTED, EXIT_USAGE, make_console
from ops.commands.controls import pause, resume, retry, sweep
from ops.commands.costs import cost
from ops.commands.events import events
from ops.commands.operators import operators
from ops.commands.orphans import brake, orphans
from ops.commands.settings import settings
from ops.commands.status import explain, status
from ops.migration.command import migrate_users


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hangar")
def cli() -> None:
    """Hangar: every paying user their own Fly.io app, gone when they stop paying.

    Speaks to the installation named by SUPABASE_URL and SUPABASE_SECRET_KEY, else to the local cloud of `hangar dev`.
    """


@cli.command()
def dev() -> None:
    """Start the whole cloud on this machine and keep it running until Ctrl-C."""
    from local.dev.cloud import run_dev  # noqa: PLC0415  the local cloud is heavy and needed by this command alone

    sys.exit(run_dev())


@cli.command()
@click.option("--folder", type=click.Path(file_okay=False), default=None, help="Keep logs and data there.")
def demo(folder: str | None) -> None:
    """Play the story on a local cloud of its own: every line is a check; exit 1 if any fails."""
    from ops.demo.command import play  # noqa: PLC0415  as above

    sys.exit(play(make_console(), folder))


for _command in (
    status,
    explain,
    events,
    cost,
    sweep,
    retry,
    pause,
    resume,
    migrate_users,
    orphans,
    brake,
    settings,
    operators,
):
    cli.add_command(_command)


def main() -> None:
    """The console script: Ctrl-C ends with 130, as in a shell."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nhangar: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
