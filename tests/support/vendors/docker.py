"""A stand-in of docker and its compose plugin: images and labelled containers in a file. Flags as in Docker's reference."""

import json
import os
import re
from pathlib import Path

from tests.support.vendors.base import RefusedError, serve

_COMPOSE = {"--file": 1, "--project-name": 1}
TABLE = {
    "build": {"--file": 1, "--tag": 1},
    "image ls": {"--quiet": 0},
    "ps": {"--filter": 1, "--format": 1},
    "compose version": {},
    "compose": {**_COMPOSE, "--detach": 0, "--wait": 0, "--remove-orphans": 0},
}
SERVICES = ("provision", "deprovision", "health", "admin", "schedule", "proxy")


def run(name, positional, given, state, heard):
    images = state.setdefault("images", [])
    if name == "compose version":
        if state.get("no_compose"):
            raise RefusedError("docker: 'compose' is not a docker command.")
        return "Docker Compose version v2.40.0"
    if name == "build":
        if not (Path(positional[0]) / "main.py").is_file() or not Path(given["--file"]).is_file():
            raise RefusedError("no such file")
        images.append(given["--tag"])
        return "built"
    if name == "image ls":
        return "0011" if positional[0] in images else ""
    if name == "ps":
        project = given["--filter"].rpartition("=")[2]
        return "\n".join(json.dumps(each) for each in state.get("labels", {}).get(project, []))
    assert positional == ["up"]
    return up(given, state, images)


def up(given, state, images):
    """Start what the file names, with the variables of our environment that the file lets pass."""
    text = Path(given["--file"]).read_text()
    assert set(SERVICES) <= set(re.findall(r"^  ([a-z]+):$", text, re.MULTILINE))
    passed = set(re.findall(r"^    ([A-Z_]+):$", text, re.MULTILINE))
    for name, words in re.findall(r"\$\{([A-Z_]+):\?([^}]*)\}", text):
        if not os.environ.get(name):
            raise RefusedError(f"required variable {name} is missing a value: {words}")
    if os.environ["HANGAR_IMAGE"] not in images:
        raise RefusedError("pull access denied")
    from shared.settings.config import Config, ConfigError  # noqa: PLC0415  most calls start nothing, and this is slow

    try:
        Config.from_env({name: os.environ[name] for name in passed if name in os.environ})
    except ConfigError as error:
        raise RefusedError(f"container exited (2): {error}") from None
    mark = os.environ["HANGAR_DEPLOYMENT"]
    state.setdefault("labels", {})[given["--project-name"]] = [
        f"com.docker.compose.project={given['--project-name']},com.docker.compose.service={each},hangar.deployment={mark}"
        for each in SERVICES
    ]
    return "started"


if __name__ == "__main__":
    serve("docker", TABLE, run)
