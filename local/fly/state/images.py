"""Images: which digest a reference has, and how a machine behaves that runs it.

The name of an image decides. Its tag is compared first, then the last part of its repository: if one of them is the name of a
behaviour, or ends with `-` and that name (`app:crash-at-start`, `app:v7-crash-at-start`), the image behaves so. Every other
image is good. `Images.register` overrides the name, as a push does.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from local.fly.runtime.runner import Exit

ARCHITECTURE = "amd64"
AT_ONCE_S = 0.5
"""How long a process runs that exits at once: Fly shows `started` for that time."""

_FAILURE = Exit(1)
_OOM = Exit(0, 9, oom_killed=True)
_WRONG_ARCHITECTURE = "wrong-architecture"
_FIELDS = ("behaviour", "digest", "runs", "version", "architecture")


@dataclass(frozen=True)
class Behaviour:
    """What differs from a good image."""

    name: str
    refusal: str = ""
    """Why the call to create or update a machine is refused."""
    pull_s: float = 0.0
    pull: Literal["works", "fails", "reverts", "vanishes"] = "works"
    boots: bool = True
    exits_after_s: float | None = None
    ended: Exit = _FAILURE
    defies_limit: bool = False
    """With the policy `always` it is restarted without limit; the others stop after `max_retries` under every policy."""
    checks: Literal["pass", "none", "not_ready", "unreachable", "slow", "flap", "not_ready_again"] = "pass"
    reports: Literal["itself", "previous", "other_user"] = "itself"
    other_digest: bool = False

    @property
    def is_virtual(self) -> bool:
        """Whether the machine must not be a real process, which would behave well."""
        return self.exits_after_s is not None or self.checks != "pass" or self.reports != "itself"


GOOD = Behaviour("good")
BEHAVIOURS = {
    each.name: each
    for each in (
        GOOD,
        Behaviour("crash-at-start", exits_after_s=AT_ONCE_S, checks="none"),
        Behaviour("exit-0", exits_after_s=AT_ONCE_S, ended=Exit(0), checks="none"),
        Behaviour("crash-after-60s", exits_after_s=60.0),
        Behaviour("crash-loop", exits_after_s=8.0, defies_limit=True),
        Behaviour("oom-at-boot", exits_after_s=AT_ONCE_S, ended=_OOM, checks="none"),
        Behaviour("oom-after-20m", exits_after_s=1200.0, ended=_OOM),
        Behaviour("never-ready", checks="not_ready"),
        Behaviour("wrong-port", checks="unreachable"),
        Behaviour("no-checks", checks="none"),
        Behaviour("flaps", checks="flap"),
        Behaviour("slow-start", checks="slow"),
        Behaviour("slow-pull", pull_s=100.0),
        Behaviour("entrypoint-missing", boots=False),
        Behaviour("wrong-digest", other_digest=True),
        Behaviour("old-version", reports="previous"),
        Behaviour("wrong-user", reports="other_user"),
        Behaviour("pull-reverts", pull_s=10.0, pull="reverts"),
        Behaviour("too-large", pull_s=10.0, pull="vanishes"),
        Behaviour("refused", refusal="unauthorized"),
        Behaviour("missing", pull="fails"),
        Behaviour(
            _WRONG_ARCHITECTURE, exits_after_s=AT_ONCE_S, ended=Exit(1, error="exec format error"), checks="none"
        ),
        Behaviour("cold-resume-broken", checks="not_ready_again"),
    )
}


@dataclass(frozen=True)
class Image:
    """One image. `digest` is the registry's; `version` is what the program in it calls itself.

    `runs` is the digest of the image for Fly's platform, if `digest` is that of an index for several platforms.
    """

    digest: str
    version: str
    behaviour: Behaviour = GOOD
    runs: str | None = None

    @property
    def running_digest(self) -> str:
        """The digest that a machine with this image shows."""
        return _digest_of(f"other than {self.digest}") if self.behaviour.other_digest else self.runs or self.digest


class Images:
    """All images. Every reference names one. A registration holds until the next one replaces it."""

    def __init__(self) -> None:
        self._registered: dict[str, dict[str, str]] = {}
        self._by_digest: dict[str, Image] = {}

    def register(self, raw: Any) -> None:
        """Replace all registrations. A key is a reference, digest or tag; a value is a digest or an object, else ValueError.

        A digest keeps its behaviour after its tag has moved, because machines may be pinned to it.
        """
        if not isinstance(raw, dict) or not all(raw):
            raise ValueError("expected an object from images, digests or tags to digests or objects")
        self._registered = {name: _read_entry(name, value) for name, value in raw.items()}
        for name, entry in self._registered.items():
            if "digest" in entry:
                self._by_digest[entry["digest"]] = _make_image(name, entry["digest"], entry)

    def shown(self) -> dict[str, Any]:
        """What is registered, in the form in which it was sent."""
        return {
            name: entry["digest"] if set(entry) == {"digest"} else entry
            for name, entry in sorted(self._registered.items())
        }

    def find(self, reference: str) -> Image:
        """The image of a reference now. Without more knowledge its digest follows from its name."""
        name, _, pinned = reference.partition("@")
        entry = self._find_entry(reference, name, pinned)
        if pinned and entry is None and pinned in self._by_digest:
            return self._by_digest[pinned]
        known = entry or {}
        digest = pinned or known.get("digest") or _digest_of(reference)
        image = _make_image(reference, digest, known)
        if not pinned:
            self._by_digest[digest] = image
        return image

    def _find_entry(self, reference: str, name: str, pinned: str) -> dict[str, str] | None:
        for key in (reference, pinned, name, _tag_of(name)):
            entry = self._registered.get(key)
            # An entry with a digest describes that digest. A machine that is pinned to another one does not run it.
            if entry is not None and (
                not pinned or key in (reference, pinned) or entry.get("digest", pinned) == pinned
            ):
                return entry
        return None


def _read_entry(name: str, value: Any) -> dict[str, str]:
    entry = {"digest": value} if isinstance(value, str) else value
    if not isinstance(entry, dict) or not all(isinstance(each, str) and each for each in entry.values()):
        raise ValueError(f"{name}: expected a digest, or an object with {', '.join(_FIELDS)}")
    if unknown := set(entry) - set(_FIELDS):
        raise ValueError(f"{name}: unknown field {min(unknown)!r}; known are {', '.join(_FIELDS)}")
    if not all(entry.get(field, "sha256:").startswith("sha256:") for field in ("digest", "runs")):
        raise ValueError(f"{name}: a digest looks like sha256:…")
    if entry.get("behaviour", GOOD.name) not in BEHAVIOURS:
        raise ValueError(f"{name}: behaviour must be one of {', '.join(BEHAVIOURS)}")
    return entry


def _make_image(reference: str, digest: str, known: dict[str, str]) -> Image:
    name = reference.partition("@")[0]
    if "behaviour" in known:
        behaviour = BEHAVIOURS[known["behaviour"]]
    elif known.get("architecture", ARCHITECTURE) != ARCHITECTURE:
        behaviour = BEHAVIOURS[_WRONG_ARCHITECTURE]
    else:
        behaviour = _behaviour_by_name(name)
    version = known.get("version") or _tag_of(name) or digest.removeprefix("sha256:")[:12]
    return Image(digest, version, behaviour, known.get("runs"))


def _behaviour_by_name(name: str) -> Behaviour:
    """The longest name wins: `entrypoint-missing` is not `missing`."""
    last = name.rpartition("/")[2]
    for word in (_tag_of(name), last.partition(":")[0]):
        found = [each for each in BEHAVIOURS if word == each or word.endswith(f"-{each}")]
        if found:
            return BEHAVIOURS[max(found, key=len)]
    return GOOD


def _tag_of(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[2]


def _digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
