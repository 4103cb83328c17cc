"""`hangar`, the operator's command line.

Exit codes: 0 ok · 1 some failed · 2 usage or settings · 3 refused (paused, brake, limits) · 130 interrupted ·
141 the reader of the output has gone.
Everything heavy is imported inside the functions, so that Ctrl-C during the imports also ends with 130 and no traceback.
"""

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from ops.exit_codes import EXIT_INTERRUPTED, EXIT_USAGE

if TYPE_CHECKING:
    import click


def main() -> None:
    """Run the command line: the entry point of the console script."""
    try:
        _run()
    except KeyboardInterrupt:
        _end_interrupted()


def _end_interrupted() -> NoReturn:
    """End with 130. Who presses Ctrl-C once more while the command still closes what it has open ends it at once, with 130."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    sys.exit(EXIT_INTERRUPTED)


def _run() -> None:
    import click  # noqa: PLC0415  see above

    from ops.output_end import end_quietly, open_missing_streams, stop_if_output_failed  # noqa: PLC0415  see above
    from ops.plain_text import shorten_words  # noqa: PLC0415  see above

    open_missing_streams()
    cli = build_cli()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode must not end the command
    if problem := find_blank(sys.argv[1:]) or find_undecodable(sys.argv[1:]):
        click.echo(f"hangar: {problem}", err=True)
        sys.exit(EXIT_USAGE)
    try:
        cli.main(prog_name="hangar", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        click.echo(shorten_words(said.getvalue()).rstrip(), err=True)
        sys.exit(EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nhangar: interrupted", err=True)
        _end_interrupted()
    except BrokenPipeError:
        end_quietly()
    except OSError as error:
        stop_if_output_failed(error)
        raise
    except SystemExit:
        if type(sys.stdout).__name__.endswith(
            "PacifyFlushWrapper"
        ):  # click ends with 1 if the reader of the help has gone
            end_quietly()
        raise


def find_blank(arguments: Sequence[str]) -> str | None:
    """Name an option or argument with an empty value, usually from an unset variable of a script. None if there is none.

    A command that runs in a machine (`hangar exec`) and what follows `--` may have empty words.
    """
    if arguments[:1] == ["exec"]:
        return None
    before = ""
    for argument in arguments:
        if argument == "--":
            return None
        option, equals, value = argument.partition("=")
        if option.startswith("--") and equals and not value.strip():
            return f"{option} has an empty value: leave it out, or give it a value"
        if not argument.strip():
            what = before if before.startswith("--") else "an argument"
            return f"{what} has an empty value ({argument!r}): leave it out, or give it a value"
        before = argument
    return None


def find_undecodable(arguments: Sequence[str]) -> str | None:
    """Which argument is not text in the encoding of this system, as a sentence. None if all are.

    Python keeps such bytes as lone surrogates, which neither JSON nor a database takes.
    """
    for argument in arguments:
        if any("\ud800" <= char <= "\udfff" for char in argument):
            return f"the argument {argument[:60]!r} is not text: it has bytes that are not valid in UTF-8"
    return None


def build_cli() -> "click.Group":
    """The group of all commands: one module of `ops/commands` for each family."""
    import click  # noqa: PLC0415  see above

    from ops.commands.access import deny, grant, remove_override  # noqa: PLC0415  see above
    from ops.commands.adopt import adopt  # noqa: PLC0415  see above
    from ops.commands.alerts import alerts  # noqa: PLC0415  see above
    from ops.commands.apps import app, apps  # noqa: PLC0415  see above
    from ops.commands.archive import archive  # noqa: PLC0415  see above
    from ops.commands.brake import brake  # noqa: PLC0415  see above
    from ops.commands.completion import completion  # noqa: PLC0415  see above
    from ops.commands.controls import pause, resume, sweep  # noqa: PLC0415  see above
    from ops.commands.costs import cost  # noqa: PLC0415  see above
    from ops.commands.credentials import credentials  # noqa: PLC0415  see above
    from ops.commands.deploy import deploy  # noqa: PLC0415  see above
    from ops.commands.doctor import doctor  # noqa: PLC0415  see above
    from ops.commands.events import events  # noqa: PLC0415  see above
    from ops.commands.export import export  # noqa: PLC0415  see above
    from ops.commands.init import init  # noqa: PLC0415  see above
    from ops.commands.install import install, uninstall  # noqa: PLC0415  see above
    from ops.commands.local_cloud import demo, dev  # noqa: PLC0415  see above
    from ops.commands.machine import checks, logs, run_command  # noqa: PLC0415  see above
    from ops.commands.migrate_users import migrate_users  # noqa: PLC0415  see above
    from ops.commands.operators import operators  # noqa: PLC0415  see above
    from ops.commands.orphans import orphans  # noqa: PLC0415  see above
    from ops.commands.plans import plans  # noqa: PLC0415  see above
    from ops.commands.release import release  # noqa: PLC0415  see above
    from ops.commands.restart import restart  # noqa: PLC0415  see above
    from ops.commands.retry import retry  # noqa: PLC0415  see above
    from ops.commands.settings import settings  # noqa: PLC0415  see above
    from ops.commands.status import explain, status  # noqa: PLC0415  see above
    from ops.commands.user import user  # noqa: PLC0415  see above
    from ops.commands.user_erase import erase_user_data  # noqa: PLC0415  see above
    from ops.commands.user_export import export_user_data  # noqa: PLC0415  see above

    @click.group(context_settings={"help_option_names": ["-h", "--help"]})
    @click.version_option(package_name="hangar")
    def cli() -> None:
        """Hangar gives every paying user their own Fly.io app and removes it when they stop paying.

        Commands act on the installation that SUPABASE_URL and SUPABASE_SECRET_KEY name, in the environment or in the
        file .env.hangar of this folder. A local cloud that `hangar dev` runs in this folder comes before that file.
        """

    shown = (
        doctor,
        status,
        apps,
        app,
        explain,
        logs,
        checks,
        events,
        cost,
        orphans,
        brake,
        alerts,
        credentials,
        plans,
        settings,
        operators,
        export,
        archive,
    )
    acting = (
        sweep,
        retry,
        restart,
        run_command,
        grant,
        deny,
        remove_override,
        pause,
        resume,
        release,
        user,
        migrate_users,
        adopt,
        install,
        uninstall,
    )
    for command in (*shown, *acting, init, deploy, dev, demo, completion):
        cli.add_command(command)
    user.add_command(erase_user_data)
    user.add_command(export_user_data)
    return cli
