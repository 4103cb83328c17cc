"""The plan for one host: Docker Compose with the four functions, a schedule, and a proxy that fetches the certificate."""

from collections.abc import Mapping
from dataclasses import dataclass

from ops.deploy import common
from ops.deploy.common import FUNCTIONS, InstallationState, Wanted
from ops.deploy.image_source import ImageSource
from ops.deploy.settings import FINGERPRINT, FunctionSettings
from ops.deploy.steps import Command, Plan, Step

SERVICES = (*FUNCTIONS, "schedule", "proxy")


@dataclass(frozen=True)
class ComposeOptions:
    """The public name of the host, and the project's name in Docker."""

    host: str
    name: str = "hangar"
    image: str | None = None


@dataclass(frozen=True)
class ComposeState:
    """Whether the image is here, and the mark of each running service."""

    has_image: bool = False
    marks: Mapping[str, str] | None = None


def find_urls(options: ComposeOptions) -> dict[str, str]:
    """The address of each function. The dashboard is the root."""
    return {f: f"https://{options.host}" + ("" if f == "admin" else f"/{f}") for f in FUNCTIONS}


def name_image(options: ComposeOptions, source: ImageSource) -> str:
    """The image of the functions."""
    return options.image or f"hangar:{source.tag}"


def plan_compose(
    options: ComposeOptions,
    source: ImageSource,
    files: Mapping[str, str],
    settings: FunctionSettings,
    wanted: Wanted,
    installation: InstallationState,
    state: ComposeState,
) -> Plan:
    """Every step on this host. `files` are the contents of the files that the containers are made from."""
    urls, image = find_urls(options), name_image(options, source)
    steps = common.plan_settings(wanted, installation)
    if options.image is None:
        build = ("docker", "build", "--file", source.path("deploy/Dockerfile"), "--tag", image, source.context)
        steps.append(
            Step(
                name="image",
                purpose="Build the one image of all functions",
                action=Command(build),
                check="Docker has this tag, which is made from the content",
                repair="the lines above are Docker's. Repeat; a finished part of the build is not built again",
                done=state.has_image,
            )
        )
    mark = settings.fingerprint(image, options.host, dict(files))
    environ = {
        **settings.plain,
        **settings.secret,
        "HANGAR_IMAGE": image,
        "HANGAR_HOST": options.host,
        FINGERPRINT: mark,
    }
    compose = ("docker", "compose", "--file", source.path("deploy/compose.yaml"), "--project-name", options.name)
    marks = state.marks or {}
    steps += [
        Step(
            name="containers",
            purpose=f"Start {', '.join(SERVICES)}",
            action=Command((*compose, "up", "--detach", "--wait", "--remove-orphans"), environ=environ),
            check=f"all of them run with the label hangar.deployment={mark}",
            repair=f"read `docker compose --project-name {options.name} logs`. A missing or wrong setting has one line there",
            done=all(marks.get(service) == mark for service in SERVICES),
        ),
        common.plan_vault(settings, urls, installation),
        common.plan_schedule(installation),
        common.plan_env_file(urls, installation),
        *common.plan_probes(urls, {f: f"docker compose --project-name {options.name} logs {f}" for f in FUNCTIONS}),
    ]
    notes = (
        f"{options.host} must lead to this host, with ports 80 and 443 open: the proxy fetches its certificate over them",
    )
    return Plan("compose", tuple(steps), notes)
