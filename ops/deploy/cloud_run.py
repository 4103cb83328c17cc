"""The plan for Google Cloud Run: four services from one image, each with an account of its own, called by Cloud Scheduler too.

Commands as of Google's reference of 2026. `--no-invoker-iam-check` is the recommended form of a public service: Hangar's
functions authenticate every caller themselves, and the database has no Google identity.
"""

import json
from collections.abc import Mapping

from ops.deploy import common
from ops.deploy.cloud_run_parts import (
    CloudRunOptions,
    CloudRunState,
    JobState,
    SecretState,
    find_urls,
    name_account,
    name_builder,
    name_image,
    name_secret,
    name_services,
)
from ops.deploy.common import FUNCTIONS, InstallationState, Wanted
from ops.deploy.image_source import ImageSource
from ops.deploy.settings import FINGERPRINT, TIMEOUT_S, FunctionSettings
from ops.deploy.steps import Command, Plan, Stdin, Step

APIS = ("run", "secretmanager", "cloudscheduler", "artifactregistry", "cloudbuild", "iam")
BUILDER = "roles/cloudbuild.builds.builder"
READER = "roles/secretmanager.secretAccessor"
STATIC = "HANGAR_STATIC_SECRET"
# requests at a time (as many threads), most instances, memory
_SIZES = {
    "provision": (8, 5, "512Mi"),
    "deprovision": (8, 5, "512Mi"),
    "health": (4, 2, "1Gi"),
    "admin": (8, 2, "512Mi"),
}
_JOBS = {"sweep": ("*/5 * * * *", "{}"), "drain": ("* * * * *", '{"drain_only": true}')}
_ROLES = "check `gcloud auth list` and your roles in the project (docs/deploy.md lists them), then repeat"


def plan_cloud_run(
    options: CloudRunOptions,
    source: ImageSource | None,
    settings: FunctionSettings,
    wanted: Wanted,
    installation: InstallationState,
    state: CloudRunState,
) -> Plan:
    """Every step, from an empty project to four answering functions."""
    urls = find_urls(options, state)
    image = name_image(options, source)
    steps = common.plan_settings(wanted, installation)
    steps.append(_enable(options, state))
    if options.image is None and source is not None:
        steps += _plan_image(options, source, image, state)
    steps += [_create_account(options, function, state) for function in FUNCTIONS]
    for setting, value in settings.secret.items():
        steps += _plan_secret(options, setting, value, state)
    steps += [_deploy(options, function, image, settings, state) for function in FUNCTIONS]
    steps += [
        common.plan_vault(settings, urls, installation),
        common.plan_schedule(installation),
        *(_plan_job(options, job, urls["health"], settings.secret[STATIC], state) for job in _JOBS),
        common.plan_env_file(urls, installation),
    ]
    logs = {f: f"gcloud run services logs read {s} {_at(options)}" for f, s in name_services(options).items()}
    steps += common.plan_probes(urls, logs)
    return Plan(
        "cloud-run", tuple(steps), ("needs a gcloud with `--min` and `--max`: run `gcloud components update` first",)
    )


def _at(options: CloudRunOptions) -> str:
    return f"--project {options.project} --region {options.region}"


def _in(options: CloudRunOptions) -> tuple[str, ...]:
    return ("--project", options.project)


def _enable(options: CloudRunOptions, state: CloudRunState) -> Step:
    names = tuple(f"{api}.googleapis.com" for api in APIS)
    return Step(
        name="apis",
        purpose="Switch on the Google APIs that Hangar uses",
        action=Command(("gcloud", "services", "enable", *names, *_in(options))),
        check="`gcloud services list --enabled` has all of them",
        repair="the project needs billing, and you need roles/serviceusage.serviceUsageAdmin. Then repeat",
        done=state.apis >= set(names),
    )


def _plan_image(options: CloudRunOptions, source: ImageSource, image: str, state: CloudRunState) -> list[Step]:
    create = (
        "gcloud",
        "artifacts",
        "repositories",
        "create",
        options.name,
        *_in(options),
        "--location",
        options.region,
    )
    builder = f"serviceAccount:{name_builder(state)}"
    allow = ("gcloud", "projects", "add-iam-policy-binding", options.project, "--member", builder)
    build = ("gcloud", "builds", "submit", source.context, "--config", source.path("deploy/cloudbuild.yaml"))
    return [
        Step(
            name="repository",
            purpose="Create the repository of the image",
            action=Command((*create, "--repository-format", "docker")),
            check="`gcloud artifacts repositories list` has it",
            repair=_ROLES,
            done=state.has_repository,
        ),
        Step(
            name="builder",
            purpose="Let Cloud Build's default account build",
            action=Command((*allow, "--role", BUILDER, "--condition", "None", "--quiet")),
            check=f"the account has {BUILDER}",
            repair=_ROLES,
            done=state.has_image or state.may_build,
        ),
        Step(
            name="image",
            purpose="Build the one image of all functions with Cloud Build",
            action=Command((*build, "--substitutions", f"_IMAGE={image}", *_in(options))),
            check="the repository has this tag, which is made from the content",
            repair="the lines above are the build's. A right that was just given takes a minute or two: repeat",
            done=state.has_image,
        ),
    ]


def _create_account(options: CloudRunOptions, function: str, state: CloudRunState) -> Step:
    name = f"{options.name}-{function}"
    argv = ("gcloud", "iam", "service-accounts", "create", name, *_in(options), "--display-name", f"Hangar {function}")
    return Step(
        name=f"account-{function}",
        purpose=f"Create the account that {function} runs as",
        action=Command(argv),
        check="`gcloud iam service-accounts list` has it",
        repair=_ROLES,
        done=name_account(options, function) in state.accounts,
    )


def _plan_secret(options: CloudRunOptions, setting: str, value: str, state: CloudRunState) -> list[Step]:
    secret = name_secret(options, setting)
    known = state.secrets.get(secret)
    found = known or SecretState()
    steps = [
        Step(
            name=f"secret-{secret}",
            purpose=f"Create the secret of {setting}",
            action=Command(("gcloud", "secrets", "create", secret, *_in(options), "--replication-policy", "automatic")),
            check="`gcloud secrets list` has it",
            repair=_ROLES,
            done=known is not None,
        ),
        Step(
            name=f"version-{secret}",
            purpose=f"Store {setting} as version {_version(found)}",
            action=Command(
                ("gcloud", "secrets", "versions", "add", secret, *_in(options), "--data-file=-"),
                Stdin((setting,), value),
            ),
            check="its newest version holds this value",
            repair=_ROLES,
            done=found.is_current,
        ),
    ]
    for function in FUNCTIONS:
        member = f"serviceAccount:{name_account(options, function)}"
        bind = ("gcloud", "secrets", "add-iam-policy-binding", secret, *_in(options), "--member", member)
        steps.append(
            Step(
                name=f"reader-{secret}-{function}",
                purpose=f"Let {function} read {setting}",
                action=Command((*bind, "--role", READER, "--condition", "None", "--quiet")),
                check=f"the account has {READER} on it",
                repair="an account that was just created is sometimes not known for a minute: repeat. " + _ROLES,
                done=member in found.readers,
            )
        )
    return steps


def _version(secret: SecretState) -> int:
    """Version numbers of a secret only count up, so the next one is known."""
    return secret.newest if secret.is_current else secret.newest + 1


def _deploy(
    options: CloudRunOptions, function: str, image: str, settings: FunctionSettings, state: CloudRunState
) -> Step:
    service = name_services(options)[function]
    threads, most, memory = _SIZES[function]
    versions = {
        setting: f"{name_secret(options, setting)}:{_version(state.secrets.get(name_secret(options, setting), SecretState()))}"
        for setting in settings.secret
    }
    shape: tuple[str, ...] = (
        "--concurrency",
        str(threads),
        "--min",
        "0",
        "--max",
        str(most),
        "--cpu",
        "1",
        "--memory",
        memory,
    )
    shape += ("--timeout", str(TIMEOUT_S), "--cpu-boost", "--no-invoker-iam-check")
    mark = settings.fingerprint(image, function, shape, versions)
    env = {"FUNCTION_TARGET": function, "THREADS": str(threads), FINGERPRINT: mark, **settings.plain}
    argv = ("gcloud", "run", "deploy", service, *_in(options), "--region", options.region, "--image", image)
    argv += ("--service-account", name_account(options, function), "--set-env-vars", join_pairs(env))
    argv += ("--set-secrets", ",".join(f"{key}={version}" for key, version in versions.items()), *shape, "--quiet")
    running = state.services.get(service)
    return Step(
        name=f"deploy-{service}",
        purpose=f"Deploy {function} as {service}",
        action=Command(argv),
        check=f"the service is ready and public, with {FINGERPRINT}={mark}",
        repair=(
            f"read `gcloud run services logs read {service} {_at(options)}`. A missing or wrong setting has one line "
            "there. An unknown option means an old gcloud: run `gcloud components update`. Then repeat"
        ),
        done=bool(running and running.is_ready and running.is_public and running.env.get(FINGERPRINT) == mark),
    )


def join_pairs(pairs: Mapping[str, str]) -> str:
    """NAME=value pairs for gcloud, separated by a character that no value holds (`gcloud topic escaping`)."""
    delimiter = next(each for each in "|~;@^%" if not any(each in value for value in pairs.values()))
    return f"^{delimiter}^" + delimiter.join(f"{name}={value}" for name, value in pairs.items())


def _plan_job(options: CloudRunOptions, job: str, url: str, secret: str, state: CloudRunState) -> Step:
    name = f"{options.name}-{job}"
    schedule, body = _JOBS[job]
    found = state.jobs.get(name)
    verb, headers = ("update", "--update-headers") if found else ("create", "--headers")
    argv: tuple[str, ...] = (
        "gcloud",
        "scheduler",
        "jobs",
        verb,
        "http",
        name,
        *_in(options),
        "--location",
        options.region,
    )
    argv += ("--schedule", schedule, "--time-zone", "Etc/UTC", "--uri", f"{url}/", "--http-method", "POST")
    # The next run is the retry, so Cloud Scheduler makes none of its own.
    argv += ("--message-body", body, "--attempt-deadline", "320s", "--max-retry-attempts", "0", "--flags-file=-")
    flags = json.dumps({headers: {"Content-Type": "application/json", "X-Hangar-Secret": secret}})
    return Step(
        name=f"job-{job}",
        purpose=f"Let Cloud Scheduler call health ({job}): it waits for the answer, which the database does not",
        action=Command(argv, Stdin((f"{headers} with {STATIC}",), flags)),
        check="the job has this schedule, address, body and secret",
        repair="Cloud Scheduler is not in every region: choose another --region. " + _ROLES,
        done=found == JobState(schedule, f"{url}/", body, secret),
    )
