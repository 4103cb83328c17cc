"""`hangar dev` and `hangar demo`: the whole cloud on this machine, to try things on or to check itself."""

import sys

import click

from ops.cli_support import make_console
from ops.exit_codes import EXIT_INTERRUPTED


@click.command()
@click.option("--sample", is_flag=True, help="Fill it with a sample fleet of 30 users.")
@click.option("--interrupt-ok", is_flag=True, help="Exit with 0 instead of 130 after Ctrl-C.")
def dev(*, sample: bool, interrupt_ok: bool) -> None:
    """Run the whole cloud on this machine until Ctrl-C.

    Its files are in .hangar of this folder, and the other commands use it when they run in this folder.
    """
    from ops.dev.run import run_dev  # noqa: PLC0415  the local cloud is heavy and only two commands need it

    code = run_dev(sample=sample)
    sys.exit(0 if interrupt_ok and code == EXIT_INTERRUPTED else code)


@click.command()
@click.option("--folder", type=click.Path(file_okay=False), default=None, help="Keep logs and data in this folder.")
def demo(folder: str | None) -> None:
    """Run the demo on a local cloud of its own. Every line is a check; exit 1 if any fails."""
    from ops.demo.run import run_demo  # noqa: PLC0415  as above

    sys.exit(run_demo(make_console(), folder))
