"""Reads what a deployment with Docker Compose finds on this host."""

import json

from ops.deploy.compose import ComposeOptions, ComposeState
from ops.deploy.tools import HOW_TO_GET, CommandError, ToolMissingError, Tools

_PROJECT, _SERVICE, _MARK = "com.docker.compose.project", "com.docker.compose.service", "hangar.deployment"


def check_compose(tools: Tools) -> None:
    """Raises ToolMissingError if Docker or its compose plugin is missing."""
    tools.find("docker")
    try:
        tools.read("docker", "compose", "version")
    except CommandError:
        raise ToolMissingError(f"docker has no compose plugin: {HOW_TO_GET['docker']}. Nothing was done") from None


def read_compose(tools: Tools, options: ComposeOptions, image: str) -> ComposeState:
    """The image and the running containers. Raises CommandError."""
    found = tools.read("docker", "image", "ls", "--quiet", image)
    listed = tools.read("docker", "ps", "--filter", f"label={_PROJECT}={options.name}", "--format", "{{json .Labels}}")
    marks = {}
    for line in filter(str.strip, listed.splitlines()):
        labels = dict(pair.partition("=")[::2] for pair in json.loads(line).split(","))
        marks[labels.get(_SERVICE, "")] = labels.get(_MARK, "")
    return ComposeState(bool(found.strip()), marks)
