"""Runs the vendors' commands: finds them, keeps secrets out of their arguments, environment and shown output."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ops.deploy.steps import Command
from shared.observability.redaction import Redactor

HOW_TO_GET = {
    "flyctl": "install flyctl: https://fly.io/docs/flyctl/install/, then `fly auth login`",
    "gcloud": "install the Google Cloud CLI: https://cloud.google.com/sdk/docs/install, then `gcloud auth login`",
    "docker": "install Docker Engine with the compose plugin: https://docs.docker.com/engine/install/",
}
_READ_TIMEOUT_S = 120
_MOST_LINES = 12


class ToolMissingError(Exception):
    """A command that a plan needs is not installed. Nothing was done."""


class CommandError(Exception):
    """A command ended with an error. The message has its last lines, without secrets."""


class Tools:
    """The vendors' commands on this machine. `hidden` are secrets that no output may show and no child may inherit."""

    def __init__(self, environ: Mapping[str, str], hidden: Iterable[str]) -> None:
        secrets = tuple(hidden)
        self._redactor = Redactor(secrets)
        kept = {name: value for name, value in environ.items() if value not in secrets and name != "SUPABASE_DB_URL"}
        # gcloud would write the arguments of each call, with what it reads from --flags-file, into a log file.
        self._environ = {**kept, "CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1", "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}

    def find(self, tool: str, *names: str) -> str:
        """The name under which the tool is on PATH. Raises ToolMissingError, which says how to get it."""
        for name in names or (tool,):
            if shutil.which(name, path=self._environ.get("PATH", os.defpath)):
                return name
        raise ToolMissingError(f"{tool} is not installed (not on PATH): {HOW_TO_GET[tool]}. Nothing was done")

    def read(self, *argv: str) -> str:
        """Standard output of a command that changes nothing. Raises CommandError."""
        try:
            ended = subprocess.run(
                argv,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_READ_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CommandError(f"`{' '.join(argv)}` gave no answer in {_READ_TIMEOUT_S} s") from None
        if ended.returncode:
            lines = self._redactor.clean(ended.stderr or ended.stdout).strip().splitlines()[-_MOST_LINES:]
            raise CommandError(f"`{' '.join(argv)}` ended with {ended.returncode}: " + "\n".join(lines))
        return ended.stdout

    def run(self, command: Command, show: Callable[[str], None]) -> None:
        """Run the command and show each line of its output as it comes. Raises CommandError."""
        with subprocess.Popen(
            command.argv,
            env={**self._environ, **command.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            self._feed(process, command)
            for line in process.stdout or ():
                show(self._redactor.clean(line.rstrip("\n")))
            code = process.wait()
        if code:
            raise CommandError(f"`{command.argv[0]} {command.argv[1]} …` ended with {code}")

    @staticmethod
    def _feed(process: "subprocess.Popen[str]", command: Command) -> None:
        if process.stdin is None:
            return
        try:
            if command.stdin:
                process.stdin.write(command.stdin.text)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended without reading, and its exit code says why

    def clean(self, text: Any) -> str:
        """The text without secrets."""
        return self._redactor.clean(str(text))
