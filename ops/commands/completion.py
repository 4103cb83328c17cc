"""`hangar completion`: the script that lets a shell complete commands, options and choices."""

import click
from click.shell_completion import get_completion_class

from ops.cli_support import report_errors, stop
from ops.exit_codes import EXIT_USAGE

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_HANGAR_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
@report_errors
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL: bash (4.4 or newer), zsh or fish.

    For bash add `source <(hangar completion bash)` to ~/.bashrc, for zsh the same with zsh to ~/.zshrc. For fish run
    `hangar completion fish > ~/.config/fish/completions/hangar.fish` once.
    """
    kind = get_completion_class(shell)
    if kind is None:
        stop(EXIT_USAGE, f"this version of click cannot complete for {shell}")
    click.echo(kind(context.find_root().command, {}, "hangar", _VARIABLE).source())
