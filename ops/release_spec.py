"""What the options of `hangar release create` ask for, as `fly_create_release` takes it."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from ops.client import Installation
from ops.connection import TargetError
from ops.release_options import find_users, read_duration, read_env, read_share, read_waves
from shared.domain.regions import explain_refused_region, normalise_region

# An option of `create`, the key of the release, and how its text is read.
_READERS: dict[str, Callable[[str, str], Any]] = {
    "share": read_share,
    "moving_share": read_share,
    "failure_share": read_share,
    "soak_s": read_duration,
    "deadline_s": read_duration,
}
# What a release may change, as `fly_create_release` calls it. The other fields choose apps or say how they move.
_CHANGES = frozenset(("kind", "image", "cpu_kind", "cpu_count", "memory_mb", "env", "region"))


def read_spec(installation: Installation, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[UUID, str]]:
    """The release as fly_create_release takes it, and what was typed for each user in it. TargetError for a wrong option."""
    names = {key: find_users(installation, options[key]) for key in ("users", "canary") if options[key]}
    texts = {key: options[key] for key in _READERS if options[key] is not None}
    if options["version"] is not None and not options["version"].strip():
        raise TargetError("--version is empty")
    plain = ("image", "version", "cpu_kind", "cpu_count", "memory_mb", "canary_size", "max_moving")
    spec: dict[str, Any] = {
        "kind": "plan" if options["drift"] else None,
        **{key: options[key] for key in plain},
        "region": _read_regions(options["move_to"]),
        "env": read_env(options["env"]) or None,
        "tiers": _split_words("--tier", options["tiers"]),
        "regions": [word.lower() for word in _split_words("--region", options["regions"]) or ()] or None,
        "users": [str(user) for user in names["users"]] if "users" in names else None,
        "canary_users": [str(user) for user in names["canary"]] if "canary" in names else None,
        "wave_shares": read_waves(options["waves"]) if options["waves"] is not None else None,
        **{key: _READERS[key](_name_option(key), text) for key, text in texts.items()},
    }
    spec = {key: value for key, value in spec.items() if value is not None}
    if not spec.keys() & _CHANGES:
        hint = ". --region only chooses the apps that are there; --move-to moves apps" if options["regions"] else ""
        raise TargetError(f"name what changes: --image, --cpu-kind, --cpu, --memory, --env, --move-to or --drift{hint}")
    return spec, {user: word for found in names.values() for user, word in found.items()}


def _read_regions(preference: str | None) -> str | None:
    """The list as it is stored. Raises TargetError for a word that is no region of Fly."""
    if preference is None:
        return None
    regions = normalise_region(preference)
    refused = explain_refused_region(preference) if regions else "the list is empty"
    if refused:
        raise TargetError(f"--move-to: {refused}")
    return regions


def _name_option(key: str) -> str:
    return f"--{key.removesuffix('_s').replace('_', '-')}"


def _split_words(option: str, given: tuple[str, ...]) -> list[str] | None:
    """The words of a list. None without the option; an empty word is refused, because it would choose everybody."""
    words = [word.strip() for text in given for word in text.split(",")]
    if not all(words):
        raise TargetError(f"{option} is empty, so it chooses nobody")
    return words or None
