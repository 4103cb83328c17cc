"""The plan for Fly: each function is an app of its own, with its own secrets, from one image.

Commands as of flyctl's reference of 2026 (fly.io/docs/flyctl): `fly deploy` creates a spare machine unless `--ha=false`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ops.deploy import common
from ops.deploy.common import FUNCTIONS, InstallationState, Wanted
from ops.deploy.image_source import ImageSource
from ops.deploy.settings import FINGERPRINT, FunctionSettings
from ops.deploy.steps import Command, Plan, Stdin, Step

_TRIAL = (
    "the organisation of the users' apps must not be a trial one: Fly stops the machines of a trial after five minutes. "
    "Add a payment method first"
)
# The database calls health each minute and hangs up after a second, so health stays up. The others are called by people.
_CONFIG = {"health": "deploy/fly.toml"}
_ON_DEMAND = "deploy/fly.on-demand.toml"


@dataclass(frozen=True)
class FlyOptions:
    """Where the functions go. `image` replaces the image that is built from the source."""

    tool: str
    org: str
    name: str
    region: str
    image: str | None = None


@dataclass(frozen=True)
class Running:
    """One machine of a function, as `fly machine list` shows it."""

    image: str
    env: Mapping[str, str]


@dataclass(frozen=True)
class FlyState:
    """What exists in the organisation of the functions."""

    apps: frozenset[str] = frozenset()
    machines: Mapping[str, tuple[Running, ...]] = field(default_factory=dict)
    secrets: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)  # names only


def name_apps(options: FlyOptions) -> dict[str, str]:
    """The app of each function."""
    return {function: f"{options.name}-{function}" for function in FUNCTIONS}


def find_urls(options: FlyOptions) -> dict[str, str]:
    """The address of each function. Fly makes it from the app's name, so it is known before anything is deployed."""
    return {function: f"https://{app}.fly.dev" for function, app in name_apps(options).items()}


def list_config_files(source: ImageSource) -> dict[str, str]:
    """The configuration file of each function, as an argument."""
    return {function: source.path(_CONFIG.get(function, _ON_DEMAND)) for function in FUNCTIONS}


def plan_fly(
    options: FlyOptions,
    source: ImageSource,
    configs: Mapping[str, str],
    settings: FunctionSettings,
    wanted: Wanted,
    installation: InstallationState,
    state: FlyState,
) -> Plan:
    """Every step, from nothing to four answering functions. `configs` are the contents of the configuration files."""
    apps, urls, files = name_apps(options), find_urls(options), list_config_files(source)
    steps = common.plan_settings(wanted, installation)
    steps += [_create_app(options, app, state) for app in apps.values()]
    image = options.image
    if image is None:
        image = f"registry.fly.io/{apps['health']}:{source.tag}"
        steps.append(_build(options, apps["health"], source, image, state))
    for function, app in apps.items():
        mark = settings.fingerprint(image, configs[function], function)
        is_current = _is_current(state.machines.get(app, ()), image, mark)
        steps.append(_import_settings(options, app, settings, state, is_current=is_current))
        steps.append(_deploy(options, function, app, files[function], image, mark, is_current=is_current))
        if len(state.machines.get(app, ())) > 1:
            steps.append(_remove_spare(options, app))
    steps += [
        common.plan_vault(settings, urls, installation),
        common.plan_schedule(installation),
        common.plan_env_file(urls, installation),
        *common.plan_probes(urls, {function: f"{options.tool} logs --app {app}" for function, app in apps.items()}),
    ]
    notes = [_TRIAL]
    if options.org == wanted.org:
        notes.append(
            f"the functions go into {options.org}, the organisation of the users' apps. An organisation of their own keeps "
            "the token of the users' apps away from them: --org"
        )
    return Plan("fly", tuple(steps), tuple(notes))


def _create_app(options: FlyOptions, app: str, state: FlyState) -> Step:
    return Step(
        name=f"app-{app}",
        purpose=f"Create the app {app}",
        action=Command((options.tool, "apps", "create", app, "--org", options.org, "--yes")),
        check=f"`{options.tool} apps list --org {options.org}` lists it",
        repair=(
            "names are unique over all of Fly: if it is taken, choose another --name. If the organisation is refused, "
            "check --org and `fly auth whoami`"
        ),
        done=app in state.apps,
    )


def _build(options: FlyOptions, app: str, source: ImageSource, image: str, state: FlyState) -> Step:
    argv: tuple[str, ...] = (options.tool, "deploy", source.context, "--build-only", "--push", "--app", app)
    argv += ("--image-label", source.tag, "--config", source.path("deploy/fly.toml"))
    argv += ("--dockerfile", source.path("deploy/Dockerfile"), "--ignorefile", source.path(".dockerignore"))
    return Step(
        name="image",
        purpose="Build the one image of all functions on Fly's builder, and push it to Fly's registry",
        action=Command(argv),
        check="a function runs this image already (its tag is made from the content)",
        repair="the lines above are the builder's. Repeat; a finished part of the build is not built again",
        done=any(_runs(machine, image) for machines in state.machines.values() for machine in machines),
    )


def _import_settings(
    options: FlyOptions, app: str, settings: FunctionSettings, state: FlyState, *, is_current: bool
) -> Step:
    values = {**settings.plain, **settings.secret}
    return Step(
        name=f"secrets-{app}",
        purpose=f"Give {app} its settings and secrets",
        action=Command(
            (options.tool, "secrets", "import", "--stage", "--app", app),
            Stdin(tuple(values), "".join(_format_secret(name, value) for name, value in values.items())),
        ),
        check=f"all of them exist, and the deployed {FINGERPRINT} was made from these values",
        repair="check `fly auth whoami` and that you may change the app, then repeat",
        done=is_current and state.secrets.get(app, frozenset()) >= set(values),
    )


def _format_secret(name: str, value: str) -> str:
    """One secret in the form of `fly secrets import`, which takes several lines between triple quotes."""
    return f'{name}="""{value}"""\n' if "\n" in value else f"{name}={value}\n"


def _deploy(
    options: FlyOptions, function: str, app: str, file: str, image: str, mark: str, *, is_current: bool
) -> Step:
    argv: tuple[str, ...] = (options.tool, "deploy", "--app", app, "--config", file, "--image", image, "--ha=false")
    argv += ("--primary-region", options.region, "--env", f"FUNCTION_TARGET={function}")
    argv += ("--env", f"{FINGERPRINT}={mark}", "--yes")
    return Step(
        name=f"deploy-{app}",
        purpose=f"Deploy {function} as {app}: one machine, no spare",
        action=Command(argv),
        check=f"its machine runs this image with {FINGERPRINT}={mark}",
        repair=f"read `{options.tool} logs --app {app}`. A missing or wrong setting has one line there. Correct it and repeat",
        done=is_current,
    )


def _remove_spare(options: FlyOptions, app: str) -> Step:
    return Step(
        name=f"scale-{app}",
        purpose=f"Remove the spare machines of {app}",
        action=Command((options.tool, "scale", "count", "1", "--app", app, "--yes")),
        check="it has one machine",
        repair=f"look at `{options.tool} machine list --app {app}` and destroy what should not be there, then repeat",
    )


def _is_current(machines: tuple[Running, ...], image: str, mark: str) -> bool:
    return bool(machines) and all(
        _runs(machine, image) and machine.env.get(FINGERPRINT) == mark for machine in machines
    )


def _runs(machine: Running, image: str) -> bool:
    """Fly appends the digest to a tag."""
    return machine.image == image or machine.image.startswith(f"{image}@")
