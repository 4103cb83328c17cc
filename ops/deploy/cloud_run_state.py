"""Reads what a deployment on Cloud Run finds, by gcloud's own listings. Only APIs that are switched on are asked."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from ops.deploy.cloud_run import BUILDER, READER
from ops.deploy.cloud_run_parts import (
    CloudRunOptions,
    CloudRunState,
    JobState,
    SecretState,
    ServiceState,
    image_path,
    name_builder,
    name_secret,
)
from ops.deploy.image_source import ImageSource
from ops.deploy.tools import CommandError, Tools


class Gcloud:
    """gcloud in one project."""

    def __init__(self, tools: Tools, options: CloudRunOptions) -> None:
        self.tools = tools
        self.options = options

    def read(self, *words: str) -> Any:
        """The JSON that a listing prints. Raises CommandError."""
        argv = ("gcloud", *words, "--project", self.options.project, "--format", "json")
        return self._parse(argv)

    def read_project(self, *words: str) -> Any:
        """The same for commands that take the project as their argument."""
        return self._parse(("gcloud", *words, self.options.project, "--format", "json"))

    def _parse(self, argv: tuple[str, ...]) -> Any:
        try:
            return json.loads(self.tools.read(*argv) or "[]")
        except json.JSONDecodeError:
            raise CommandError(f"`{' '.join(argv)}` did not print JSON. Run `gcloud components update`") from None


def read_project_number(tools: Tools, options: CloudRunOptions) -> str:
    """The number of the project, from which the functions' addresses are made. Raises CommandError."""
    found = Gcloud(tools, options).read_project("projects", "describe")
    number = str(found.get("projectNumber", "")) if isinstance(found, dict) else ""
    if not number.isdigit():
        raise CommandError(f"gcloud told no number of the project {options.project}. Check --project")
    return number


def read_cloud_run(
    tools: Tools, options: CloudRunOptions, number: str, source: ImageSource | None, secrets: Mapping[str, str]
) -> CloudRunState:
    """What exists in the project. `secrets` are the values that Secret Manager should hold. Raises CommandError."""
    gcloud = Gcloud(tools, options)
    enabled = gcloud.read("services", "list", "--enabled")
    apis = frozenset(str((each.get("config") or {}).get("name")) for each in enabled)
    empty = CloudRunState(project_number=number)
    has_repository = _on(apis, "artifactregistry") and _has_repository(gcloud)
    return CloudRunState(
        project_number=number,
        apis=apis,
        accounts=_read_accounts(gcloud) if _on(apis, "iam") else frozenset(),
        has_repository=has_repository,
        has_image=has_repository and source is not None and _has_image(gcloud, source),
        may_build=_may_build(gcloud, name_builder(empty)),
        secrets=_read_secrets(gcloud, secrets) if _on(apis, "secretmanager") else {},
        services=_read_services(gcloud) if _on(apis, "run") else {},
        jobs=_read_jobs(gcloud) if _on(apis, "cloudscheduler") else {},
    )


def _on(apis: frozenset[str], name: str) -> bool:
    return f"{name}.googleapis.com" in apis


def _has_repository(gcloud: Gcloud) -> bool:
    found = gcloud.read("artifacts", "repositories", "list", "--location", gcloud.options.region)
    return any(str(each.get("name", "")).endswith(f"/{gcloud.options.name}") for each in found)


def _has_image(gcloud: Gcloud, source: ImageSource) -> bool:
    found = gcloud.read("artifacts", "docker", "images", "list", image_path(gcloud.options), "--include-tags")
    tags = [each.get("tags") or [] for each in found]
    return any(source.tag in (each.split(", ") if isinstance(each, str) else each) for each in tags)


def _read_accounts(gcloud: Gcloud) -> frozenset[str]:
    return frozenset(str(each.get("email")) for each in gcloud.read("iam", "service-accounts", "list"))


def _may_build(gcloud: Gcloud, account: str) -> bool:
    policy = gcloud.read_project("projects", "get-iam-policy")
    return f"serviceAccount:{account}" in _members(policy, BUILDER)


def _members(policy: Any, role: str) -> frozenset[str]:
    bindings = policy.get("bindings", []) if isinstance(policy, dict) else []
    return frozenset(
        member
        for each in bindings
        if each.get("role") == role and not each.get("condition")
        for member in each.get("members", [])
    )


def _read_secrets(gcloud: Gcloud, wanted: Mapping[str, str]) -> dict[str, SecretState]:
    names = {str(each.get("name", "")).rpartition("/")[2] for each in gcloud.read("secrets", "list")}
    states = {}
    for setting, value in wanted.items():
        name = name_secret(gcloud.options, setting)
        if name in names:
            states[name] = _read_secret(gcloud, name, value)
    return states


def _read_secret(gcloud: Gcloud, name: str, value: str) -> SecretState:
    versions = {
        int(str(each["name"]).rpartition("/")[2]): each.get("state")
        for each in gcloud.read("secrets", "versions", "list", name)
    }
    newest = max(versions, default=0)
    is_current = bool(newest) and str(versions[newest]).upper() == "ENABLED" and _holds(gcloud, name, newest, value)
    policy = gcloud.read("secrets", "get-iam-policy", name)
    return SecretState(newest, is_current, _members(policy, READER))


def _holds(gcloud: Gcloud, name: str, version: int, value: str) -> bool:
    found = gcloud.read("secrets", "versions", "access", str(version), "--secret", name)
    try:
        data = base64.urlsafe_b64decode(found["payload"]["data"])
    except (KeyError, TypeError, binascii.Error):
        raise CommandError(f"gcloud did not show version {version} of {name}") from None
    return data == value.encode()


def _read_services(gcloud: Gcloud) -> dict[str, ServiceState]:
    found = gcloud.read("run", "services", "list", "--region", gcloud.options.region)
    return {str(each["metadata"]["name"]): _read_service(each) for each in found}


def _read_service(document: dict[str, Any]) -> ServiceState:
    conditions = (document.get("status") or {}).get("conditions") or []
    containers = document["spec"]["template"]["spec"].get("containers") or [{}]
    annotations = document["metadata"].get("annotations") or {}
    return ServiceState(
        is_ready=any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions),
        is_public=str(annotations.get("run.googleapis.com/invoker-iam-disabled", "")).lower() == "true",
        env={each["name"]: str(each.get("value", "")) for each in containers[0].get("env") or []},
    )


def _read_jobs(gcloud: Gcloud) -> dict[str, JobState]:
    found = gcloud.read("scheduler", "jobs", "list", "--location", gcloud.options.region)
    return {str(each["name"]).rpartition("/")[2]: _read_job(each) for each in found}


def _read_job(document: dict[str, Any]) -> JobState:
    target = document.get("httpTarget") or {}
    try:
        body = base64.b64decode(target.get("body") or "").decode()
    except (binascii.Error, UnicodeDecodeError):
        body = ""
    secret = (target.get("headers") or {}).get("X-Hangar-Secret")
    return JobState(str(document.get("schedule")), str(target.get("uri")), body, secret)
