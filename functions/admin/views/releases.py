"""Releases in words and as bars: what one changes, how far each wave is, what holds it and what Hangar does next. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.domain.cost import format_size_of
from shared.domain.moments import format_moment
from shared.domain.release_text import HOLDS, explain_code
from shared.domain.remediation import format_duration

# Where an app stands in a release, in the order of the bars. "left_out" is in no wave.
PARTS = {
    "done": "done",
    "moving": "moving",
    "pending": "pending",
    "going_back": "going back",
    "failed": "failed",
    "reverted": "put back",
    "skipped": "skipped",
    "left_out": "left out",
}
STATES = {"rolling_back": "rolling back", "rolled_back": "rolled back"}
# While these hold a release, apps still go back.
_HOLDS_ONLY_FORWARD = ("incident", "brake")
_LEAST_WIDTH = 1.5


@dataclass(frozen=True)
class Segment:
    """A part of a wave's bar. `x` and `width` are per cent of the bar."""

    part: str
    label: str
    apps: int
    x: float
    width: float


@dataclass(frozen=True)
class WaveBar:
    """One wave as a bar, with the same in words."""

    number: int
    size: int
    is_current: bool
    segments: list[Segment]

    @property
    def name(self) -> str:
        return name_wave(self.number)

    @property
    def words(self) -> str:
        counts = ", ".join(f"{each.apps:,} {each.label}" for each in self.segments)
        return f"{self.name}, {format_apps(self.size)}: {counts}"


def format_apps(number: int) -> str:
    """A number of apps: "1 app", "2,000 apps"."""
    return f"{number:,} {'app' if number == 1 else 'apps'}"


def name_wave(wave: int) -> str:
    """The first wave is the canary."""
    return "canary" if wave == 0 else f"wave {wave}"


def draw_waves(release: Mapping[str, Any]) -> list[WaveBar]:
    """A bar for each wave. A part with few apps is still wide enough to be seen."""
    moves = release["state"] in ("rolling", "paused", "rolling_back")
    return [
        WaveBar(
            wave["wave"],
            wave["size"],
            moves and wave["wave"] == release["wave"],
            _divide(wave["parts"]),
        )
        for wave in release["waves"]
    ]


def _divide(parts: Mapping[str, int]) -> list[Segment]:
    counted = [(part, parts[part]) for part in PARTS if parts.get(part)]
    total = sum(apps for _, apps in counted)
    widths = [max(apps / total * 100, _LEAST_WIDTH) for _, apps in counted]
    scale, x, segments = 100 / sum(widths, 0.0) if widths else 0.0, 0.0, []
    for (part, apps), width in zip(counted, widths, strict=True):
        segments.append(Segment(part, PARTS[part], apps, round(x, 3), round(width * scale, 3)))
        x += width * scale
    return segments


def count_parts(release: Mapping[str, Any]) -> dict[str, int]:
    """The apps of all waves by part, in the order of the bars."""
    return {
        part: apps
        for part in PARTS
        if (apps := sum(wave["parts"].get(part, 0) for wave in release["waves"])) or part == "done"
    }


def describe_progress(release: Mapping[str, Any]) -> str:
    """How far a release is, in a few words."""
    counts = count_parts(release)
    total = sum(counts.values())
    if release["state"] == "draft":
        return f"{format_apps(total)} planned"
    rest = [f"{apps:,} {PARTS[part]}" for part, apps in counts.items() if part not in ("done", "pending")]
    return ", ".join([f"{counts['done']:,} of {total:,} done", *rest])


def describe_wave(release: Mapping[str, Any]) -> str:
    """The wave of a release among all its waves."""
    last = max((wave["wave"] for wave in release["waves"]), default=0)
    if release["wave"] == 0:
        return f"canary, then {last} {'wave' if last == 1 else 'waves'}"
    return f"wave {release['wave']} of {last}"


def describe_changes(release: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a release changes, by name. Of its environment the database gives only the names."""
    changes = release["changes"]
    if release["kind"] == "plan":
        return [("Plan", "each app gets what its plan says today")]
    found = [("Image", changes["image"])] if "image" in changes else []
    if "image_digest" in changes:
        found.append(("Digest", changes["image_digest"]))
    found += [("Size", size)] if (size := format_size_of(changes)) else []
    found += [("Regions", changes["region"])] if "region" in changes else []
    found += [("Version", changes["version"])] if "version" in changes else []
    found += [("Environment", ", ".join(changes["env"]))] if changes.get("env") else []
    return found


def describe_selection(release: Mapping[str, Any]) -> str:
    """Which apps a release concerns."""
    chosen = release["selection"]
    parts = [f"tier {', '.join(chosen['tiers'])}"] if chosen.get("tiers") else []
    parts += [f"region {', '.join(chosen['regions'])}"] if chosen.get("regions") else []
    parts += (
        [f"{len(chosen['users'])} chosen {'user' if len(chosen['users']) == 1 else 'users'}"]
        if chosen.get("users")
        else []
    )
    parts += [f"{float(chosen['share']) * 100:g} % of the users"] if chosen.get("share") else []
    return "; ".join(parts) or "all apps"


def explain_reason(code: str, reason: str | None) -> str:
    """Why an app is where it is: what the code means, then what was found, unless that is the same or no sentence."""
    meaning = explain_code(code)
    found = (reason or "").strip().rstrip(".")
    return meaning if not found or found in (meaning, code) else f"{meaning}: {found}"


def describe_target(release: Mapping[str, Any]) -> str:
    """How far one app is in its release. "applying" and "verifying" tell more than "moving"."""
    return str(release["target"] if release["part"] == "moving" else PARTS[release["part"]])


def name_running_image(row: Mapping[str, Any]) -> str:
    """The image that a row's machine was seen to run, with its digest. Empty if none was seen."""
    seen = row.get("observed_spec") or {}
    image, digest = str(seen.get("image") or ""), seen.get("image_digest")
    return f"{image}@{digest}" if image and digest and "@" not in image else image


def describe_pin(pin: Mapping[str, Any]) -> str:
    """What an operator has fixed for one user. Of the environment the database gives only the names."""
    parts = [f"image {pin['image']}"] if "image" in pin else []
    parts += [f"size {size}"] if (size := format_size_of(pin)) else []
    parts += [f"environment {', '.join(pin['env'])}"] if pin.get("env") else []
    parts += [f"no release before {format_moment(pin['held_back_until'])}"] if "held_back_until" in pin else []
    text = "; ".join(parts) or "nothing"
    return f"{text[:1].upper()}{text[1:]}; set"


def describe_pause(release: Mapping[str, Any]) -> str:
    """Why a release is paused, as a sentence. Empty if it is not."""
    return end_sentence(release.get("reason") or "no reason was given") if release["state"] == "paused" else ""


def describe_next(release: Mapping[str, Any]) -> str:
    """What holds a release, and what Hangar does next."""
    counts = count_parts(release)
    back = release["back"]
    held = _describe_hold(release, back)
    state = release["state"]
    if state == "draft":
        return _describe_draft(release, sum(counts.values()))
    if state == "rolling":
        return held or _describe_rolling(release, back)
    if state == "paused":
        # While nothing moves, nobody looks at a paused release, and its hold may be over.
        return (held if back or counts.get("moving") else "") or _describe_paused(counts, back)
    if state == "rolling_back":
        end = "aborted" if release.get("reason") == "abort" else "rolled back"
        todo = f"{_count_back(back)} to what ran before."
        return f"{todo} {held or f'When that is over, the release is {end}.'}"
    if state == "completed":
        return "Nothing more: the release is complete. A rollback puts every app back to what it ran before."
    if lost := counts.get("failed", 0):
        return (
            f"Nothing more: the release has ended. {format_apps(lost)} {_are(lost)} not well on the former machine: see the "
            "reasons. Every other app that it had moved runs what it ran before."
        )
    return "Nothing more: the release has ended, and every app that it had moved runs what it ran before."


def _describe_hold(release: Mapping[str, Any], back: int) -> str:
    hold = release.get("held_by")
    if not hold:
        return ""
    reason = HOLDS.get(hold, hold.replace("_", " "))
    if back and hold in _HOLDS_ONLY_FORWARD:
        return f"Held because {reason}: {_count_back(back)}, and no other app moves until that ends."
    return f"Held because {reason}: no app moves until that ends. Then Hangar continues automatically."


def _describe_draft(release: Mapping[str, Any], total: int) -> str:
    if overlap := (release.get("plan") or {}).get("overlap"):
        return (
            f"Release {overlap} is under way and concerns some of the same apps. This release can be started when "
            f"release {overlap} has ended."
        )
    if not total:
        return "No app needs this release now, so it cannot be started. Abort it."
    first = release["waves"][0]
    apps = format_apps(first["size"])
    return f"Nothing moves until an operator starts it. Then the {name_wave(first['wave'])} moves first: {apps}."


def _describe_rolling(release: Mapping[str, Any], back: int) -> str:
    now = f"the {name_wave(0)}" if release["wave"] == 0 else name_wave(release["wave"])
    parts: Mapping[str, int] = next((w["parts"] for w in release["waves"] if w["wave"] == release["wave"]), {})
    moving, pending = parts.get("moving", 0), parts.get("pending", 0)
    later = [wave for wave in release["waves"] if wave["wave"] > release["wave"] and wave["parts"].get("pending")]
    then = (
        f"{name_wave(later[0]['wave'])} ({format_apps(later[0]['size'])}) opens" if later else "the release is complete"
    )
    first = f"{_count_back(back)} to what ran before. " if back else ""
    if moving:
        wait = f", and {pending:,} more {'waits' if pending == 1 else 'wait'} for a turn" if pending else ""
        soak = format_duration(float(release["soak_s"]))
        proved = f"When all of them have been good for {soak}, {then}."
        return f"{first}Hangar is moving {format_apps(moving)} of {now}{wait}. {proved}"
    if pending:
        return f"{first}The next drain, within a minute, moves apps of {now}: {pending:,} {_are(pending)} pending."
    return f"{first}The apps of {now} are through. With the next drain, {then}."


def _describe_paused(counts: Mapping[str, int], back: int) -> str:
    if back:
        return (
            f"Hangar is putting {format_apps(back)} back to what ran before. Then an operator can resume it, which tries "
            "those apps again, or abort it."
        )
    if moving := counts.get("moving", 0):
        return (
            f"{format_apps(moving)} that had begun to move {_are(moving)} still checked, and put back on failure. "
            "No other app moves until an operator resumes or aborts it."
        )
    return "No app moves until an operator resumes it, which tries failed apps again, or aborts it, which puts every app back."


def _count_back(apps: int) -> str:
    return f"{format_apps(apps)} still {'goes' if apps == 1 else 'go'} back"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def end_sentence(text: str) -> str:
    """The text as a sentence of its own."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")
