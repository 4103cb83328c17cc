"""Every operation of Fly's OpenAPI description (Machines API 1.0, November 2026), and the handlers of those answered here."""

from collections.abc import Mapping
from functools import lru_cache

from local.fly.api import (
    actions,
    addresses,
    app_logs,
    app_secrets,
    apps,
    leases,
    listings,
    machines,
    metadata,
    regions,
    tokens,
)
from local.fly.api.calls import Handler

_APP = "/v1/apps/{app_name}"
_MACHINE = _APP + "/machines/{machine_id}"
_KEY_VERBS = ("decrypt", "encrypt", "generate", "sign", "verify")

ANSWERED: Mapping[tuple[str, str], Handler] = {
    ("GET", "/v1/apps"): apps.list_apps,
    ("POST", "/v1/apps"): apps.create_app,
    ("GET", _APP): apps.get_app,
    ("DELETE", _APP): apps.delete_app,
    ("GET", _APP + "/ip_assignments"): addresses.list_addresses,
    ("POST", _APP + "/ip_assignments"): addresses.assign_address,
    ("DELETE", _APP + "/ip_assignments/{ip}"): addresses.release_address,
    ("GET", _APP + "/machines"): machines.list_machines,
    ("POST", _APP + "/machines"): machines.create_machine,
    ("GET", _MACHINE): machines.get_machine,
    ("POST", _MACHINE): machines.update_machine,
    ("DELETE", _MACHINE): machines.delete_machine,
    ("POST", _MACHINE + "/cordon"): actions.cordon_machine,
    ("GET", _MACHINE + "/events"): metadata.list_events,
    ("POST", _MACHINE + "/exec"): metadata.execute,
    ("GET", _MACHINE + "/lease"): leases.get_lease,
    ("POST", _MACHINE + "/lease"): leases.create_lease,
    ("DELETE", _MACHINE + "/lease"): leases.release_lease,
    ("GET", _MACHINE + "/metadata"): metadata.get_metadata,
    ("PUT", _MACHINE + "/metadata"): metadata.patch_metadata,
    ("PATCH", _MACHINE + "/metadata"): metadata.patch_metadata,
    ("GET", _MACHINE + "/metadata/{key}"): metadata.get_metadata_key,
    ("POST", _MACHINE + "/metadata/{key}"): metadata.set_metadata_key,
    ("DELETE", _MACHINE + "/metadata/{key}"): metadata.delete_metadata_key,
    ("POST", _MACHINE + "/restart"): actions.restart_machine,
    ("POST", _MACHINE + "/signal"): actions.signal_machine,
    ("POST", _MACHINE + "/start"): actions.start_machine,
    ("POST", _MACHINE + "/stop"): actions.stop_machine,
    ("POST", _MACHINE + "/suspend"): actions.suspend_machine,
    ("POST", _MACHINE + "/uncordon"): actions.uncordon_machine,
    ("GET", _MACHINE + "/versions"): metadata.list_versions,
    ("GET", _MACHINE + "/wait"): actions.wait_for_machine,
    ("GET", _APP + "/secrets"): app_secrets.list_secrets,
    ("POST", _APP + "/secrets"): app_secrets.update_secrets,
    ("GET", _APP + "/secrets/{secret_name}"): app_secrets.get_secret,
    ("POST", _APP + "/secrets/{secret_name}"): app_secrets.set_secret,
    ("DELETE", _APP + "/secrets/{secret_name}"): app_secrets.delete_secret,
    ("GET", "/v1/orgs/{org_slug}/machines"): listings.list_org_machines,
    ("GET", "/v1/platform/regions"): regions.list_regions,
    ("GET", "/v1/tokens/current"): tokens.show_token,
    ("POST", "/v1/tokens/authorize"): tokens.authorize_token,
}

BESIDE: Mapping[tuple[str, str], Handler] = {("GET", "/api/v1/apps/{app_name}/logs"): app_logs.list_logs}
"""What Fly answers elsewhere than in the Machines API."""

_LEFT_OUT: Mapping[str, str] = {
    "/certificates": "GET",
    "/certificates/acme": "POST",
    "/certificates/custom": "POST",
    "/certificates/{hostname}": "GET DELETE",
    "/certificates/{hostname}/acme": "DELETE",
    "/certificates/{hostname}/check": "POST",
    "/certificates/{hostname}/custom": "DELETE",
    "/deploy_token": "POST",
    "/machines/{machine_id}/memory": "GET PUT",
    "/machines/{machine_id}/memory/reclaim": "POST",
    "/machines/{machine_id}/ps": "GET",
    "/secretkeys": "GET",
    "/secretkeys/{secret_name}": "GET POST DELETE",
    **dict.fromkeys((f"/secretkeys/{{secret_name}}/{verb}" for verb in _KEY_VERBS), "POST"),
    "/volumes": "GET POST",
    "/volumes/{volume_id}": "GET PUT DELETE",
    "/volumes/{volume_id}/extend": "PUT",
    "/volumes/{volume_id}/snapshots": "GET POST",
}
UNANSWERED: tuple[tuple[str, str], ...] = (
    *((method, _APP + path) for path, methods in _LEFT_OUT.items() for method in methods.split()),
    ("GET", "/v1/orgs/{org_slug}/volumes"),
    ("POST", "/v1/platform/placements"),
    *(("POST", f"/v1/tokens/{verb}") for verb in ("authenticate", "kms", "oidc")),
)
"""Operations of Fly's API that the simulator answers with 501."""
HANDLERS: Mapping[tuple[str, str], Handler | None] = {**dict.fromkeys(UNANSWERED), **ANSWERED, **BESIDE}
"""Every method and path that Fly has, with its handler or None."""


def _tree() -> dict[int, list[tuple[tuple[str, ...], str]]]:
    templates = {template for _, template in HANDLERS}
    by_length: dict[int, list[tuple[tuple[str, ...], str]]] = {}
    # A fixed segment wins over a parameter, so templates with fewer parameters are tried first.
    for template in sorted(templates, key=lambda t: (t.count("{"), t)):
        segments = tuple(template.split("/"))
        by_length.setdefault(len(segments), []).append((segments, template))
    return by_length


_BY_LENGTH = _tree()


@lru_cache(4096)
def find_template(path: str) -> tuple[str, dict[str, str]] | None:
    """The OpenAPI path template of a path and its parameters (do not change them); None when Fly has no such path."""
    given = path.rstrip("/").split("/")
    for segments, template in _BY_LENGTH.get(len(given), ()):
        if all((g and s[0] == "{") or s == g for s, g in zip(segments[1:], given[1:], strict=True)):
            return template, {s[1:-1]: g for s, g in zip(segments, given, strict=True) if s.startswith("{")}
    return None
