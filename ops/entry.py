"""The console script's first line: even Ctrl-C while everything is still being imported ends in one line and 130."""

import sys

EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from ops.cli import main as run  # noqa: PLC0415  the import is what takes the time

        run()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
