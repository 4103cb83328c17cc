"""Every operation of Fly's OpenAPI description (Machines API 1.0, November 2026): who answers it, or that nobody does."""

from collections.abc import Mapping
from functools import lru_cache

from local.fly.api import (
    actions as power,
)
from local.fly.api import (
    addresses,
    app_secrets,
    apps,
    leases,
    listings,
    machines,
    regions,
    tokens,
)
from local.fly.api import (
    metadata as details,
)
from local.fly.api.calls import Handler

_APP = "/v1/apps/{app_name}"
_MACHINE = _APP + "/machines/{machine_id}"

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
    ("POST", _MACHINE + "/cordon"): power.cordon_machine,
    ("GET", _MACHINE + "/events"): details.list_events,
    ("POST", _MACHINE + "/exec"): details.execute,
    ("GET", _MACHINE + "/lease"): leases.get_lease,
    ("POST", _MACHINE + "/lease"): leases.create_lease,
    ("DELETE", _MACHINE + "/lease"): leases.release_lease,
    ("GET", _MACHINE + "/metadata"): details.get_metadata,
    ("PUT", _MACHINE + "/metadata"): details.patch_metadata,
    ("PATCH", _MACHINE + "/metadata"): details.patch_metadata,
    ("GET", _MACHINE + "/metadata/{key}"): details.get_metadata_key,
    ("POST", _MACHINE + "/metadata/{key}"): details.set_metadata_key,
    ("DELETE", _MACHINE + "/metadata/{key}"): details.delete_metadata_key,
    ("POST", _MACHINE + "/restart"): power.restart_machine,
    ("POST", _MACHINE + "/signal"): power.signal_machine,
    ("POST", _MACHINE + "/start"): power.start_machine,
    ("POST", _MACHINE + "/stop"): power.stop_machine,
    ("POST", _MACHINE + "/suspend"): power.suspend_machine,
    ("POST", _MACHINE + "/uncordon"): power.uncordon_machine,
    ("GET", _MACHINE + "/versions"): details.list_versions,
    ("GET", _MACHINE + "/wait"): power.wait_for_machine,
    ("GET", _APP + "/secrets"): app_secrets.list_secrets,
    ("POST", _APP + "/secrets"): app_secrets.update_secrets,
    ("GET", _APP + "/secrets/{secret_name}"): app_secrets.get_secret,
    ("POST", _APP + "/secrets/{secret_name}"): app_secrets.set_secret,
    ("DELETE", _APP + "/secrets/{secret_name}"): app_secrets.delete_secret,
    ("GET", "/v1/orgs/{org_slug}/machines"): listings.list_org_machines,
    ("GET", "/v1/platform/regions"): regions.list_regions,
    ("GET", "/v1/tokens/current"): tokens.show_token,
}

UNANSWERED: tuple[tuple[str, str], ...] = (
    ("GET", _APP + "/certificates"),
    ("POST", _APP + "/certificates/acme"),
    ("POST", _APP + "/certificates/custom"),
    ("GET", _APP + "/certificates/{hostname}"),
    ("DELETE", _APP + "/certificates/{hostname}"),
    ("DELETE", _APP + "/certificates/{hostname}/acme"),
    ("POST", _APP + "/certificates/{hostname}/check"),
    ("DELETE", _APP + "/certificates/{hostname}/custom"),
    ("POST", _APP + "/deploy_token"),
    ("GET", _MACHINE + "/memory"),
    ("PUT", _MACHINE + "/memory"),
    ("POST", _MACHINE + "/memory/reclaim"),
    ("GET", _MACHINE + "/ps"),
    ("GET", _APP + "/secretkeys"),
    ("GET", _APP + "/secretkeys/{secret_name}"),
    ("POST", _APP + "/secretkeys/{secret_name}"),
    ("DELETE", _APP + "/secretkeys/{secret_name}"),
    ("POST", _APP + "/secretkeys/{secret_name}/decrypt"),
    ("POST", _APP + "/secretkeys/{secret_name}/encrypt"),
    ("POST", _APP + "/secretkeys/{secret_name}/generate"),
    ("POST", _APP + "/secretkeys/{secret_name}/sign"),
    ("POST", _APP + "/secretkeys/{secret_name}/verify"),
    ("GET", _APP + "/volumes"),
    ("POST", _APP + "/volumes"),
    ("GET", _APP + "/volumes/{volume_id}"),
    ("PUT", _APP + "/volumes/{volume_id}"),
    ("DELETE", _APP + "/volumes/{volume_id}"),
    ("PUT", _APP + "/volumes/{volume_id}/extend"),
    ("GET", _APP + "/volumes/{volume_id}/snapshots"),
    ("POST", _APP + "/volumes/{volume_id}/snapshots"),
    ("GET", "/v1/orgs/{org_slug}/volumes"),
    ("POST", "/v1/platform/placements"),
    ("POST", "/v1/tokens/authenticate"),
    ("POST", "/v1/tokens/authorize"),
    ("POST", "/v1/tokens/kms"),
    ("POST", "/v1/tokens/oidc"),
)
"""Part of Fly's API, answered with 501."""


def _tree() -> dict[int, list[tuple[tuple[str, ...], str]]]:
    templates = {template for _, template in (*ANSWERED, *UNANSWERED)}
    by_length: dict[int, list[tuple[tuple[str, ...], str]]] = {}
    # A fixed segment wins over a parameter, so templates with fewer parameters are tried first.
    for template in sorted(templates, key=lambda t: (t.count("{"), t)):
        segments = tuple(template.split("/"))
        by_length.setdefault(len(segments), []).append((segments, template))
    return by_length


_BY_LENGTH = _tree()
_METHODS = frozenset((*ANSWERED, *UNANSWERED))


@lru_cache(4096)
def find_template(path: str) -> tuple[str, dict[str, str]] | None:
    """The OpenAPI path template of a path and the values of its parameters, to be read only; None when Fly has no such path."""
    given = path.rstrip("/").split("/")
    for segments, template in _BY_LENGTH.get(len(given), ()):
        if all((g and s[0] == "{") or s == g for s, g in zip(segments[1:], given[1:], strict=True)):
            return template, {s[1:-1]: g for s, g in zip(segments, given, strict=True) if s.startswith("{")}
    return None


def is_known(method: str, template: str) -> bool:
    """Whether Fly has this method on this path."""
    return (method, template) in _METHODS
