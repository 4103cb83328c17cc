"""Drift: how the machine that runs on Fly differs from the one that its row describes. Pure.

The judgement reads Fly's own description of the machine. It compares only what Hangar sets, because Fly adds defaults of its
own, and it compares values, because Fly may write the same value differently ("60s" and "1m0s", "off" and false).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from shared.domain.cost import format_size
from shared.domain.machine_config import SECRETS_KEY
from shared.domain.models import Json, Row
from shared.domain.regions import allows, split_preference

IMAGE, GUEST, REGION, ENV, CHECKS = "image", "guest", "region", "env", "checks"
SERVICES, RESTART, STOP, METADATA, SECRETS = "services", "restart", "stop", "metadata", "secrets"
# An update cannot move a machine to another region, so this difference is left to a person.
NOT_REPAIRABLE = frozenset({REGION})
# Without these the machine is not the one that was ordered. The others may be a matter of how Fly writes a value.
ESSENTIAL = frozenset({IMAGE, GUEST, SECRETS})
# What Fly's listing of the whole organisation shows. It has no environment, checks, services or resolved image.
LISTED = frozenset({IMAGE, GUEST, REGION})

# The digest of a row whose tag a release deploys again, wherever it points now.
UNRESOLVED = "unresolved"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_DURATION_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MISSING = object()


@dataclass(frozen=True)
class Difference:
    """One kind of drift: what runs and what should run, as text for people. The values of variables are never in it."""

    kind: str
    runs: str
    wanted: str

    @property
    def text(self) -> str:
        return f"runs {self.runs}; should run {self.wanted}"


@dataclass(frozen=True)
class RunningSpec:
    """What Fly says about a machine: its config, the digest that its image was resolved to, and where it is."""

    region: str
    image_digest: str = ""
    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False, repr=False)


def find_drift(row: Row, wanted: Json, running: RunningSpec) -> tuple[Difference, ...]:
    """Every difference between the row's machine (`wanted` is its whole config) and the one that runs, one for each kind."""
    config = running.config
    found = [
        *find_listed_drift(row, config.get("image"), config.get("guest"), running.region, running.image_digest),
        _compare_env(row, _as_map(wanted.get("env")), _as_map(config.get("env"))),
        _compare_named(CHECKS, "health checks", _as_map(wanted.get("checks")), _as_map(config.get("checks"))),
        _compare_services(wanted.get("services") or [], config.get("services") or []),
        _compare(RESTART, {"restart": wanted["restart"], "auto_destroy": wanted["auto_destroy"]}, config),
        _compare(STOP, {"stop_config": wanted["stop_config"]}, config),
        *_compare_metadata(wanted["metadata"], _as_map(config.get("metadata"))),
    ]
    return tuple(each for each in found if each is not None)


def find_listed_drift(row: Row, image: Any, guest: Any, region: str, digest: str = "") -> tuple[Difference, ...]:
    """The differences that Fly's listing of the whole organisation can show: image, size and region."""
    found = (_compare_image(row, image, digest), _compare_guest(row, guest), _compare_region(row, region))
    return tuple(each for each in found if each is not None)


def digest_env(env: Mapping[str, str]) -> str:
    """A fingerprint of a machine's environment, which says nothing about its values."""
    return hashlib.sha256(json.dumps(dict(env), sort_keys=True).encode()).hexdigest()[:16]


def pin_image(row: Row) -> str:
    """The row's image, pinned to the digest that Hangar deployed, so that a moved tag does not change what runs."""
    if "@" in row.docker_image or not row.image_digest:
        return row.docker_image
    return f"{row.docker_image}@{row.image_digest}"


def _compare_image(row: Row, image: Any, digest: str) -> Difference | None:
    name, _, pinned = (image if isinstance(image, str) else "").partition("@")
    wanted_name, _, wanted_pinned = row.docker_image.partition("@")
    wanted_digest, runs_digest = wanted_pinned or row.image_digest, digest or pinned
    if wanted_pinned and (name, pinned) == (wanted_name, wanted_pinned):
        # Fly shows the digest of the manifest that it runs. If the row names an index, that is another one, and always the same.
        same = runs_digest in (wanted_pinned, row.image_digest or runs_digest)
    elif wanted_digest and runs_digest:
        same = wanted_digest == runs_digest and _repository(name) == _repository(wanted_name)
    else:
        same = (name, pinned) == (wanted_name, wanted_pinned)  # a tag that was not resolved yet, or Fly's listing
    if same:
        return None
    runs = f"{name}@{runs_digest}" if runs_digest else name or "an unknown image"
    return Difference(IMAGE, runs, f"{wanted_name}@{wanted_digest}" if wanted_digest else wanted_name)


def _repository(name: str) -> str:
    """The image's name without its tag. A colon before the last slash belongs to the registry's port."""
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def _compare_guest(row: Row, guest: Any) -> Difference | None:
    shown = _as_map(guest)
    runs = (shown.get("cpu_kind"), shown.get("cpus"), shown.get("memory_mb"))
    wanted = (row.cpu_kind, row.cpu_count, row.memory_mb)
    return None if runs == wanted else Difference(GUEST, format_size(*runs) or "unknown", format_size(*wanted))


def _compare_region(row: Row, region: str) -> Difference | None:
    """Every region of the row's list is right, also one that an alias such as `eu` or `any` stands for."""
    if not region or allows(row.region, region):
        return None
    return Difference(REGION, region, " or ".join(split_preference(row.region)))


def _compare_env(row: Row, wanted: Mapping[str, Any], runs: Mapping[str, Any]) -> Difference | None:
    """The row knows the fingerprint of what Hangar sent: new settings of the functions do not make old machines wrong.

    What plan, release and pin add is another matter: if that has changed, the machine must have exactly what is wanted now.
    A reader that is not told these values knows only the fingerprint, so it ends no difference that it cannot judge.
    """
    missing = sorted(set(wanted) - set(runs))
    is_told = row.env_version is None or row.extra_env is not None
    if row.env_version != row.env_version_deployed:
        same = dict(runs) == dict(wanted) if is_told else ENV not in row.drift
    elif row.env_digest:
        same = digest_env(runs) == row.env_digest or (is_told and digest_env(runs) == digest_env(wanted))
    else:
        same = not missing and runs.get("USER_ID") == wanted.get("USER_ID")
    if same:
        return None
    if not is_told and ENV in row.drift:
        return _read_difference(ENV, row.drift[ENV])  # as a reader who was told has described it
    lacks = f"an environment without {', '.join(missing)}" if missing else "an environment that Hangar did not set"
    return Difference(ENV, lacks, "the environment that Hangar set")


def _read_difference(kind: str, text: str) -> Difference:
    """The difference that has this text."""
    runs, _, wanted = text.removeprefix("runs ").partition("; should run ")
    return Difference(kind, runs, wanted)


def _compare_named(kind: str, what: str, wanted: Mapping[str, Any], runs: Mapping[str, Any]) -> Difference | None:
    """Each of our names has to be there with our values. More names are allowed: they take nothing away from ours."""
    wrong = sorted(name for name, value in wanted.items() if not _contains(runs.get(name, _MISSING), value))
    if not wrong:
        return None
    how = "without" if all(name not in runs for name in wrong) else "with other values of"
    return Difference(kind, f"{what} {how} {', '.join(wrong)}", f"{what} {', '.join(wrong)} as set by Hangar")


def _compare_metadata(wanted: Mapping[str, Any], runs: Mapping[str, Any]) -> tuple[Difference | None, ...]:
    """The version of the secrets is a difference of its own: the machine has to be updated to receive the new ones.

    A machine that names no version is not known to have old ones: it was made before Hangar wrote the version down.
    """
    named = {name: value for name, value in wanted.items() if name != SECRETS_KEY}
    given, newest = runs.get(SECRETS_KEY), wanted.get(SECRETS_KEY)
    older = Difference(SECRETS, f"version {given} of the app's secrets", f"version {newest}")
    return (
        _compare_named(METADATA, "metadata", named, runs),
        older if None not in (given, newest) and given != newest else None,
    )


def _compare_services(wanted: list[Any], runs: list[Any]) -> Difference | None:
    if len(wanted) == len(runs) and all(_contains(*pair) for pair in zip(runs, wanted, strict=True)):
        return None
    if len(wanted) != len(runs):
        return Difference(SERVICES, f"{len(runs)} public services", f"{len(wanted)} public services")
    return Difference(SERVICES, "a public service with other settings", "the public service that Hangar set")


def _compare(kind: str, wanted: Mapping[str, Any], config: Mapping[str, Any]) -> Difference | None:
    # Fly omits what is false.
    runs = {name: config.get(name, False if value is False else _MISSING) for name, value in wanted.items()}
    if all(_contains(runs[name], value) for name, value in wanted.items()):
        return None
    return Difference(kind, _format(runs), _format(wanted))


def _format(values: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in values.items() if value is not _MISSING and value is not False}
    return ", ".join(f"{name} {json.dumps(value, sort_keys=True)}" for name, value in shown.items()) or "Fly's defaults"


def _contains(runs: Any, wanted: Any) -> bool:
    """Whether everything that Hangar sets is there; what Fly adds is ignored."""
    if isinstance(wanted, Mapping):
        return isinstance(runs, Mapping) and all(
            _contains(runs.get(name, False if value is False else _MISSING), value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(runs, list) and len(runs) == len(wanted) and all(map(_contains, runs, wanted))
    return bool(_normalise(runs) == _normalise(wanted))


def _normalise(value: Any) -> Any:
    """Durations as seconds, and the words of `autostop` as the booleans with which Fly answers."""
    if value in ("off", "stop"):
        return value == "stop"
    if isinstance(value, str) and value[:1].isdigit() and _DURATION.sub("", value) == "":
        return ("seconds", sum(float(number) * _DURATION_S[unit] for number, unit in _DURATION.findall(value)))
    return value


def _as_map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
