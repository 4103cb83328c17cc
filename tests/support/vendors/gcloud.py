"""A stand-in of gcloud: APIs, accounts, secrets, services and jobs in a file. Flags as the Google Cloud CLI takes them (2026)."""

import base64
import json
from pathlib import Path

from tests.support.vendors.base import RefusedError, serve

_ALL = {"--project": 1, "--format": 1, "--quiet": 0}
_JOB = {
    **_ALL, "--location": 1, "--schedule": 1, "--time-zone": 1, "--uri": 1, "--http-method": 1, "--message-body": 1,
    "--attempt-deadline": 1, "--max-retry-attempts": 1, "--flags-file": 1,
}  # fmt: skip
_BIND = {**_ALL, "--member": 1, "--role": 1, "--condition": 1}
TABLE = {
    "projects describe": _ALL,
    "projects get-iam-policy": _ALL,
    "projects add-iam-policy-binding": _BIND,
    "services list": {**_ALL, "--enabled": 0},
    "services enable": _ALL,
    "artifacts repositories list": {**_ALL, "--location": 1},
    "artifacts repositories create": {**_ALL, "--location": 1, "--repository-format": 1},
    "artifacts docker images list": {**_ALL, "--include-tags": 0},
    "iam service-accounts list": _ALL,
    "iam service-accounts create": {**_ALL, "--display-name": 1},
    "secrets list": _ALL,
    "secrets create": {**_ALL, "--replication-policy": 1},
    "secrets get-iam-policy": _ALL,
    "secrets add-iam-policy-binding": _BIND,
    "secrets versions list": _ALL,
    "secrets versions access": {**_ALL, "--secret": 1},
    "secrets versions add": {**_ALL, "--data-file": 1},
    "builds submit": {**_ALL, "--config": 1, "--substitutions": 1},
    "run services list": {**_ALL, "--region": 1},
    "run deploy": {
        **_ALL, "--region": 1, "--image": 1, "--service-account": 1, "--set-env-vars": 1, "--set-secrets": 1, "--timeout": 1,
        "--concurrency": 1, "--min": 1, "--max": 1, "--cpu": 1, "--memory": 1, "--cpu-boost": 0, "--no-invoker-iam-check": 0,
    },
    "scheduler jobs list": {**_ALL, "--location": 1},
    "scheduler jobs create http": {**_JOB, "--headers": 1},
    "scheduler jobs update http": {**_JOB, "--update-headers": 1},
}  # fmt: skip
NUMBER = "123456789012"
_NEEDS = {
    "artifacts": "artifactregistry", "iam": "iam", "secrets": "secretmanager", "run": "run", "scheduler": "cloudscheduler",
    "builds": "cloudbuild",
}  # fmt: skip


def run(name, positional, given, state, heard):
    first = name.split()[0]
    if state.get("project", "acme-prod") != (given.get("--project") or positional[0]):
        raise RefusedError("(gcloud) PERMISSION_DENIED: no such project")
    if first in _NEEDS and f"{_NEEDS[first]}.googleapis.com" not in state.get("apis", []):
        raise RefusedError(
            f"(gcloud.{first}) {_NEEDS[first]} API has not been used in project before or it is disabled"
        )
    return globals()[name.replace(" ", "_").replace("-", "_")](positional, given, state, heard)


def projects_describe(positional, given, state, heard):
    return {"projectId": positional[0], "projectNumber": NUMBER}


def projects_get_iam_policy(positional, given, state, heard):
    return as_policy(state.get("policy", {}))


def projects_add_iam_policy_binding(positional, given, state, heard):
    state.setdefault("policy", {}).setdefault(given["--role"], []).append(given["--member"])
    return ""


def as_policy(roles):
    return {"bindings": [{"role": role, "members": members} for role, members in roles.items()], "etag": "x"}


def services_list(positional, given, state, heard):
    return [{"config": {"name": api}, "state": "ENABLED"} for api in state.get("apis", [])]


def services_enable(positional, given, state, heard):
    state["apis"] = sorted({*state.get("apis", []), *positional})
    return ""


def artifacts_repositories_list(positional, given, state, heard):
    return [{"name": f"projects/x/locations/y/repositories/{each}"} for each in state.get("repositories", [])]


def artifacts_repositories_create(positional, given, state, heard):
    add(state.setdefault("repositories", []), positional[0])
    return ""


def artifacts_docker_images_list(positional, given, state, heard):
    found = [each.rpartition(":") for each in state.get("images", [])]
    return [{"package": path, "tags": [tag], "version": "sha256:00"} for path, _, tag in found if path == positional[0]]


def iam_service_accounts_list(positional, given, state, heard):
    return [{"email": f"{each}@{given['--project']}.iam.gserviceaccount.com"} for each in state.get("accounts", [])]


def iam_service_accounts_create(positional, given, state, heard):
    if not 6 <= len(positional[0]) <= 30:
        raise RefusedError("the account's name must have 6 to 30 characters")
    add(state.setdefault("accounts", []), positional[0])
    return ""


def secrets_list(positional, given, state, heard):
    return [{"name": f"projects/{NUMBER}/secrets/{each}"} for each in state.get("secrets", {})]


def secrets_create(positional, given, state, heard):
    if positional[0] in state.setdefault("secrets", {}):
        raise RefusedError(f"ALREADY_EXISTS: Secret [{positional[0]}] already exists.")
    state["secrets"][positional[0]] = {"versions": [], "policy": {}}
    return ""


def find_secret(state, name):
    if name not in state.get("secrets", {}):
        raise RefusedError(f"NOT_FOUND: Secret [{name}] not found")
    return state["secrets"][name]


def secrets_get_iam_policy(positional, given, state, heard):
    return as_policy(find_secret(state, positional[0])["policy"])


def secrets_add_iam_policy_binding(positional, given, state, heard):
    account = given["--member"].removeprefix("serviceAccount:").partition("@")[0]
    if account not in state.get("accounts", []):
        raise RefusedError(f"INVALID_ARGUMENT: Service account {given['--member']} does not exist.")
    find_secret(state, positional[0])["policy"].setdefault(given["--role"], []).append(given["--member"])
    return ""


def secrets_versions_list(positional, given, state, heard):
    versions = find_secret(state, positional[0])["versions"]
    return [
        {"name": f"projects/{NUMBER}/secrets/{positional[0]}/versions/{number}", "state": "ENABLED"}
        for number in range(len(versions), 0, -1)
    ]


def secrets_versions_access(positional, given, state, heard):
    value = find_secret(state, given["--secret"])["versions"][int(positional[0]) - 1]
    return {"payload": {"data": base64.urlsafe_b64encode(value.encode()).decode()}}


def secrets_versions_add(positional, given, state, heard):
    if given["--data-file"] != "-":
        raise RefusedError("the plan gives secrets on standard input")
    versions = find_secret(state, positional[0])["versions"]
    versions.append(heard)
    return f"Created version [{len(versions)}] of the secret [{positional[0]}]."


def builds_submit(positional, given, state, heard):
    folder, account = Path(positional[0]), f"serviceAccount:{NUMBER}-compute@developer.gserviceaccount.com"
    if not (folder / "deploy" / "Dockerfile").is_file() or not Path(given["--config"]).is_file():
        raise RefusedError("no source or no config")
    if account not in state.get("policy", {}).get("roles/cloudbuild.builds.builder", []):
        raise RefusedError(f"{account} does not have storage.objects.get access")
    image = given["--substitutions"].removeprefix("_IMAGE=")
    if image.split("/")[2] not in state.get("repositories", []):
        raise RefusedError("denied: repository does not exist")
    add(state.setdefault("images", []), image)
    return "SUCCESS"


def run_services_list(positional, given, state, heard):
    return list(state.get("services", {}).values())


def run_deploy(positional, given, state, heard):
    account = given["--service-account"].partition("@")[0]
    if account not in state.get("accounts", []) or given["--image"] not in [
        *state.get("images", []),
        *state.get("foreign", []),
    ]:
        raise RefusedError("the account or the image does not exist")
    sign = given["--set-env-vars"][1]
    env = dict(pair.split("=", 1) for pair in given["--set-env-vars"][3:].split(sign))
    values = {}
    for pair in given["--set-secrets"].split(","):
        key, _, source = pair.partition("=")
        name, version = source.split(":")
        secret = find_secret(state, name)
        if f"serviceAccount:{given['--service-account']}" not in secret["policy"].get(
            "roles/secretmanager.secretAccessor", []
        ):
            raise RefusedError(f"Permission denied on secret: {name} for Revision service account {account}")
        if not version.isdigit() or int(version) > len(secret["versions"]):
            raise RefusedError(f"secret {name} has no version {version}")
        values[key] = secret["versions"][int(version) - 1]
    from shared.settings.config import Config, ConfigError  # noqa: PLC0415  most calls start nothing, and this is slow

    try:
        config = Config.from_env({**env, **values})
    except ConfigError as error:
        raise RefusedError(f"The user-provided container failed to start: {error}") from None
    assert config.timeout_s == float(given["--timeout"])
    assert env["THREADS"] == given["--concurrency"]
    public = {"run.googleapis.com/invoker-iam-disabled": "true"} if given.get("--no-invoker-iam-check") else {}
    state.setdefault("services", {})[positional[0]] = {
        "metadata": {"name": positional[0], "annotations": public},
        "spec": {"template": {"spec": {"containers": [{"env": [{"name": k, "value": v} for k, v in env.items()]}]}}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    return f"Service URL: https://{positional[0]}-{NUMBER}.{given['--region']}.run.app"


def scheduler_jobs_list(positional, given, state, heard):
    return list(state.get("jobs", {}).values())


def scheduler_jobs_create_http(positional, given, state, heard):
    if positional[0] in state.get("jobs", {}):
        raise RefusedError("ALREADY_EXISTS: Job already exists")
    return set_job(positional[0], given, state, heard, "--headers")


def scheduler_jobs_update_http(positional, given, state, heard):
    if positional[0] not in state.get("jobs", {}):
        raise RefusedError("NOT_FOUND: Job not found")
    return set_job(positional[0], given, state, heard, "--update-headers")


def set_job(name, given, state, heard, flag):
    if given.get("--flags-file") != "-":
        raise RefusedError("the plan gives the header on standard input")
    [(found, headers)] = json.loads(heard).items()
    assert found == flag
    state.setdefault("jobs", {})[name] = {
        "name": f"projects/x/locations/{given['--location']}/jobs/{name}",
        "schedule": given["--schedule"],
        "httpTarget": {
            "uri": given["--uri"],
            "httpMethod": given["--http-method"],
            "headers": headers,
            "body": base64.b64encode(given["--message-body"].encode()).decode(),
        },
    }
    return ""


def add(values, value):
    if value in values:
        raise RefusedError(f"ALREADY_EXISTS: {value}")
    values.append(value)


if __name__ == "__main__":
    serve("gcloud", TABLE, run)
