"""A stand-in of flyctl: apps, secrets, images and machines in a file. Flags as in Fly's reference of `fly` (2026)."""

import os
import tomllib
from pathlib import Path

from tests.support.vendors.base import RefusedError, serve

_APP = {"--app": 1, "-a": 1, "--config": 1, "-c": 1}
TABLE = {
    "apps create": {"--org": 1, "-o": 1, "--yes": 0, "-y": 0, "--json": 0, "--network": 1, "--save": 0},
    "apps list": {"--org": 1, "-o": 1, "--json": 0, "--quiet": 0},
    "machine list": {**_APP, "--json": 0, "--quiet": 0},
    "secrets list": {**_APP, "--json": 0},
    "secrets import": {**_APP, "--stage": 0, "--detach": 0},
    "scale count": {**_APP, "--yes": 0, "--region": 1, "--max-per-region": 1},
    "tokens create org": {"--org": 1, "--name": 1, "--expiry": 1, "--json": 0},
    "deploy": {
        **_APP, "--build-only": 0, "--push": 0, "--image": 1, "--image-label": 1, "--dockerfile": 1, "--ignorefile": 1, "--ha": 0,
        "--env": 1, "--primary-region": 1, "--yes": 0, "--remote-only": 0, "--wait-timeout": 1, "--strategy": 1,
    },
}  # fmt: skip
DIGEST = "sha256:" + "ab" * 32


def run(name, positional, given, state, heard):
    apps, taken = state.setdefault("apps", {}), state.get("taken", [])
    if name == "apps list":
        return [
            {"Name": app, "Organization": {"Slug": org["org"]}}
            for app, org in apps.items()
            if org["org"] == given["--org"]
        ]
    if name == "apps create":
        [app] = positional
        if app in apps or app in taken:
            raise RefusedError("Validation failed: Name has already been taken")
        apps[app] = {"org": given["--org"], "secrets": {}, "staged": {}, "machines": []}
        return f"New app created: {app}"
    if name == "tokens create org":
        if not given.get("--expiry", "").endswith("h"):
            raise RefusedError(f"invalid duration {given.get('--expiry')}")
        return "FlyV1 fm2_standin0000000000"
    app = apps.get(given["--app"])
    if app is None:
        raise RefusedError(f'Could not find App "{given["--app"]}"')
    if name == "machine list":
        return app["machines"]
    if name == "secrets list":
        return [
            {"name": each, "digest": "0011223344556677", "status": "Deployed"}
            for each in {**app["secrets"], **app["staged"]}
        ]
    if name == "secrets import":
        if not given.get("--stage") and app["machines"]:
            raise RefusedError("this would restart the machines; the plan stages secrets")
        app["staged"] |= parse_secrets(heard)
        return "Secrets have been staged"
    if name == "scale count":
        app["machines"] = app["machines"][: int(positional[0])]
        return "scaled"
    return deploy(app, positional, given, state)


def deploy(app, positional, given, state):
    folder = Path(positional[0] if positional else ".")
    config = tomllib.loads((folder / given["--config"]).read_text())
    images = state.setdefault("images", [])
    if given.get("--build-only"):
        if not given.get("--push"):
            raise RefusedError("an image that is not pushed is lost")
        for each in ("--dockerfile", "--ignorefile"):
            if not (folder / given[each]).is_file():
                raise RefusedError(f"no such file: {given[each]}")
        images.append(f"registry.fly.io/{given['--app']}:{given['--image-label']}")
        return f"image: {images[-1]}"
    image = given["--image"]
    if image.startswith("registry.fly.io/") and image not in images:
        raise RefusedError(f"failed to fetch an image or build from source: Could not find image {image}")
    env = {**config.get("env", {}), **dict(pair.split("=", 1) for pair in given.get("--env", []))}
    app["secrets"] |= app["staged"]
    app["staged"] = {}
    from shared.settings.config import Config, ConfigError  # noqa: PLC0415  most calls start nothing, and this is slow

    try:
        Config.from_env({**env, **app["secrets"]})
    except ConfigError as error:
        raise RefusedError(f"smoke checks for the machine failed: exit code 2: {error}") from None
    count = len(app["machines"]) or (1 if given.get("--ha") == "false" else 2)
    app["machines"] = [
        {
            "id": f"{os.getpid():x}{number}",
            "state": "started",
            "region": given.get("--primary-region") or config["primary_region"],
            "config": {"image": f"{image}@{DIGEST}", "env": env, "services": [config["http_service"]]},
        }
        for number in range(count)
    ]
    return f"Visit your newly deployed app at https://{given['--app']}.fly.dev/"


def parse_secrets(text):
    """As flyctl reads standard input: NAME=value lines, comments, quotes dropped, three quotes around several lines."""
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise RefusedError(f"Secrets must be provided as NAME=VALUE pairs ({line} is invalid)")
        value = value.lstrip(" ")
        if value.startswith('"""'):
            parts = [value.removeprefix('"""')]
            for part in lines:
                parts.append(part.removesuffix('"""'))
                if part.endswith('"""'):
                    break
            value = "\n".join(parts)
        elif len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        found[name.strip()] = value
    return found


if __name__ == "__main__":
    serve("fly", TABLE, run, several=("--env", "-e"))
