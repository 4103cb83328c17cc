"""Releases for people: waves as bars, reasons in groups, who is behind, what happens next, and the dry run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from ops.plain_text import one_line
from ops.release_regions import make_region_rows
from ops.tables import make_list, make_table
from shared.domain.moments import format_moment
from shared.domain.release_text import (
    HOLDS,
    format_changes,
    format_differing,
    format_kept,
    format_left_out,
    name_wave,
    shorten_image,
)
from shared.domain.remediation import format_duration

SHOWN_TARGETS = 20
_BAR_WIDTH = 30
_UNDER_WAY = ("rolling", "rolling_back")
_MOVING = ("applying", "verifying")
_OPEN = ("rolling", "paused")
# Why an app is behind that has no reason of its own.
_WAITS = {
    "pending": "waits for its turn",
    "applying": "Fly updates the machine",
    "verifying": "must stay good for the soak",
    "done": "waits for its turn to go back",
}
_GOES_BACK = ("rolling_back", "aborted", "rolled_back")


def count_apps(count: int) -> str:
    """The number with its noun."""
    return f"{count} app" if count == 1 else f"{count} apps"


def is_at_rest(release: Mapping[str, Any]) -> bool:
    """Whether nothing moves any more until somebody acts. Needs the targets."""
    moving = any(each["state"] in _MOVING or each["goes_back"] for each in release["targets"])
    return release["state"] not in _UNDER_WAY and not moving


def list_behind(release: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The apps of the opened waves that do not have the release, failures first. Of one that goes back: who is not back."""
    order = ("failed", "reverted", "verifying", "applying", "done", "pending", "skipped")
    moved = [each for each in release["targets"] if each["wave"] is not None and each["wave"] <= release["wave"]]
    if release["state"] == "draft":
        behind = []
    elif release["state"] in _GOES_BACK:
        behind = [each for each in moved if each["goes_back"] or each["state"] in ("failed", "done")]
    else:
        behind = [each for each in moved if each["goes_back"] or each["state"] != "done"]
    return sorted(behind, key=lambda each: (order.index(each["state"]), each["wave"]))


def group_reasons(release: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The reasons of all targets with how many apps each has and one example, the most frequent first."""
    reasons = [each for each in release["targets"] if each["code"]]
    counts = Counter((each["state"], each["code"]) for each in reasons)
    examples = {(each["state"], each["code"]): each for each in reversed(reasons)}
    return [
        {
            "state": state,
            "why": code,
            "apps": apps,
            "for example": f"{examples[state, code]['app']}: {examples[state, code]['reason']}",
        }
        for (state, code), apps in counts.most_common()
    ]


def format_headline(release: Mapping[str, Any]) -> str:
    """One line: state, wave, how many apps are done."""
    waves = release["waves"]
    size, done = sum(wave["size"] for wave in waves), sum(wave["done"] for wave in waves)
    moving, failed = sum(wave["moving"] for wave in waves), sum(wave["failed"] for wave in waves)
    if release["state"] in _GOES_BACK:
        return f"Release {release['id']}: {release['state']}; {_format_way_back(release, moving)}"
    last, here = max((wave["wave"] for wave in waves), default=0), release["wave"]
    where = f", {name_wave(here)}{f' of {last}' if here else ''}" if release["state"] in _OPEN else ""
    rest = "".join(f", {count} {word}" for count, word in ((moving, "moving"), (failed, "failed")) if count)
    return f"Release {release['id']}: {release['state']}{where}; {done} of {count_apps(size)} done{rest}"


def _format_way_back(release: Mapping[str, Any], moving: int) -> str:
    """How many apps are back, of those that have to go back."""
    back, lost, kept, waits = (
        sum(wave[key] for wave in release["waves"]) for key in ("reverted", "not_back", "done", "to_go_back")
    )
    total = back + lost + moving + waits
    parts = [f"{back} of {count_apps(total)} back"] if total else []
    parts += [f"{moving} moving"] if moving else []
    parts += [f"{lost} not well on the former machine"] if lost else []
    parts += [f"{count_apps(kept)} as a later release has changed {'it' if kept == 1 else 'them'}"] if kept else []
    return ", ".join(parts) or "no app had moved"


def format_next(release: Mapping[str, Any]) -> str:
    """What Hangar does next with a release, and what the operator can do. The targets are counted by `waves`."""
    number, state, waves = release["id"], release["state"], release["waves"]
    moving = sum(wave["moving"] for wave in waves)
    if state == "draft":
        return f"nothing moves until it is started: `hangar release start {number}`"
    if state == "rolling":
        return _format_next_wave(release)
    if state == "rolling_back":
        moved = f"Hangar puts the apps back to what they ran before, a few at a time; {count_apps(moving)} moving now"
        return f"{moved}{_format_held_back_way(release)}"
    if state == "paused":
        back = sum(each["goes_back"] for each in release["targets"])
        first = "nothing moves"
        if forward := sum(each["state"] in _MOVING and not each["goes_back"] for each in release["targets"]):
            verb = "is" if forward == 1 else "are"
            first = f"{count_apps(forward)} that had begun to move {verb} still checked; no other app begins"
        if back:
            first = f"Hangar puts {count_apps(back)} back to what ran before{_format_held_back_way(release)}"
        return (
            f"{first}. `hangar release resume {number}` tries again what failed; `hangar release abort {number}` puts "
            "every app back"
        )
    if state == "completed":
        behind = len(list_behind(release))
        lack = f"{count_apps(behind)} {'does' if behind == 1 else 'do'} not have it. " if behind else ""
        return (
            f"{lack}Nothing more happens; `hangar release rollback {number}` puts every app back to what it ran before"
        )
    lost = sum(each["state"] == "failed" for each in release["targets"])
    if lost:
        verb = "is" if lost == 1 else "are"
        return (
            f"{count_apps(lost)} {verb} not well on the former machine: see the reasons, and `hangar explain USER`. "
            "The other apps run what they ran before"
        )
    if kept := sum(each["state"] == "done" for each in release["targets"]):
        verb, others = ("keeps", "The others run") if kept == 1 else ("keep", "All others run")
        return f"nothing more happens. {count_apps(kept)} {verb} what a later release has changed. {others} what they ran before"
    return "nothing more happens; the apps run what they ran before"


def _format_held_back_way(release: Mapping[str, Any]) -> str:
    """Why apps do not go back now. An incident and the brake stop no way back."""
    hold = release.get("held_by")
    return f". It waits because {HOLDS.get(hold, hold)}" if hold and hold not in ("incident", "brake") else ""


def _format_next_wave(release: Mapping[str, Any]) -> str:
    if hold := release.get("held_by"):
        return f"the release waits because {HOLDS.get(hold, hold)}. It continues when that is over; nothing has failed"
    here = release["wave"]
    left = sum(wave["pending"] + wave["moving"] for wave in release["waves"] if wave["wave"] <= here)
    later = [wave for wave in release["waves"] if wave["wave"] > here and wave["pending"]]
    soak = format_duration(float(release["soak_s"]))
    then = (
        f"then {name_wave(later[0]['wave'])} begins ({count_apps(later[0]['size'])})"
        if later
        else "then it is complete"
    )
    where = "the canary" if here == 0 else name_wave(here)
    return f"{count_apps(left)} of {where} must be updated and stay good for {soak}; {then}"


def render_release(release: Mapping[str, Any], emails: Mapping[str, str]) -> list[RenderableType]:
    """One release, its targets included, as lines and tables."""
    lines = [format_headline(release), f"Changes: {format_changes(release)}"]
    if digest := release["changes"].get("image_digest"):
        lines.append(f"Digest: {digest}")
    if chosen := _format_selection(release["selection"]):
        lines.append(f"Only: {chosen}")
    why = release.get("why") or "no reason given"
    lines.append(f"By {release['created_by']} at {format_moment(release['created_at'])}: {why}")
    if release.get("reason") and release["state"] == "paused":
        lines.append(f"Paused: {release['reason']}")
    if kept := format_kept(release):
        lines.append(kept)
    parts: list[RenderableType] = [Text(one_line(line)) for line in lines]
    parts += [_render_bar(wave, is_current=_is_current(wave, release)) for wave in release["waves"]]
    if reasons := group_reasons(release):
        parts.append(make_table("Reasons", reasons))
    if behind := list_behind(release):
        parts.append(_make_behind("Not back" if release["state"] in _GOES_BACK else "Behind", behind, emails))
    return [*parts, Text(f"Next: {format_next(release)}")]


def _format_selection(selection: Mapping[str, Any]) -> str:
    parts = [f"{key} {', '.join(selection[key])}" for key in ("tiers", "regions") if key in selection]
    parts += [f"{len(selection['users'])} named users"] if "users" in selection else []
    parts += [f"{float(selection['share']):.4%} of them".replace(".0000", "")] if "share" in selection else []
    return "; ".join(parts)


def _is_current(wave: Mapping[str, Any], release: Mapping[str, Any]) -> bool:
    return bool(release["state"] in _OPEN and wave["wave"] == release["wave"])


def _render_bar(wave: Mapping[str, Any], *, is_current: bool) -> Text:
    size = wave["size"]
    bad = wave["failed"]
    # A part with at least one app gets at least one character.
    widths = [
        min(_BAR_WIDTH, max(1, count * _BAR_WIDTH // size)) if count else 0
        for count in (wave["done"], wave["moving"], bad)
    ]
    while sum(widths) > _BAR_WIDTH:
        widths[widths.index(max(widths))] -= 1
    text = Text(f"{'>' if is_current else ' '} {name_wave(wave['wave']):<8} ")
    for character, width, colour in zip("█▓x", widths, ("green", "cyan", "red"), strict=True):
        text.append(character * width, colour)
    text.append("░" * (_BAR_WIDTH - sum(widths)), "dim")
    words = ("moving", "failed", "to_go_back", "reverted", "skipped", "pending")
    rest = "".join(f", {wave[word]} {word.replace('_', ' ')}" for word in words if wave[word])
    text.append(f" {wave['done']} of {size} done{rest}")
    return text


def _name_place(target: Mapping[str, Any], key: str) -> str:
    """Where a target is or should be, like " in sin", for one that is not where it should be."""
    is_moving = target.get("region") and target["region"] not in str(target.get("should_run_in")).split(",")
    return f" in {target[key]}" if is_moving else ""


def _make_behind(title: str, behind: Sequence[Mapping[str, Any]], emails: Mapping[str, str]) -> RenderableType:
    rows = [
        {
            "user": emails.get(each["user_id"]) or each["user_id"],
            "app": each["app"],
            "wave": name_wave(each["wave"]),
            "state": f"{each['state']}, goes back" if each["goes_back"] else each["state"],
            "runs": shorten_image(each["running"]) + _name_place(each, "region"),
            "should run": shorten_image(each["should_run"]) + _name_place(each, "should_run_in"),
            "why": each["reason"] or _WAITS.get(each["state"]),
        }
        for each in behind[:SHOWN_TARGETS]
    ]
    more = f"; {SHOWN_TARGETS} of {len(behind)}, all of them: --json" if len(behind) > SHOWN_TARGETS else ""
    return make_table(f"{title} ({len(behind)}{more})", rows)


def make_release_list(releases: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One row for each release."""
    rows = [
        {
            "id": release["id"],
            "state": release["state"],
            "wave": name_wave(release["wave"]) if release["state"] in _OPEN else None,
            "changes": format_changes(release),
            "apps": sum(wave["size"] for wave in release["waves"]),
            "done": sum(wave["done"] for wave in release["waves"]),
            "why": release.get("why"),
            "by": release["created_by"],
            "at": format_moment(release["created_at"]),
        }
        for release in releases
    ]
    return make_list("Releases", rows, ("id", "state", "wave", "changes", "apps", "done", "why", "by", "at"))


def render_dry_run(plan: Mapping[str, Any], emails: Mapping[str, str]) -> list[RenderableType]:
    """Who would move in which wave, who is left out and why, and the cost."""
    moving = [each for each in plan["targets"] if each["left_out"] is None]
    left = [each for each in plan["targets"] if each["left_out"] is not None]
    total = sum(wave["size"] for wave in plan["waves"])
    parts: list[RenderableType] = [
        make_table("Waves", [{"wave": name_wave(wave["wave"]), "apps": wave["size"]} for wave in plan["waves"]])
    ]
    for title, targets, count in (("Would move", moving, total), ("Left out", left, sum(plan["left_out"].values()))):
        rows = [_describe_planned(each, emails) for each in targets[:SHOWN_TARGETS]]
        more = f"; the first {len(rows)}, all of them: --json" if count > len(rows) else ""
        if count:
            parts.append(make_table(f"{title} ({count}{more})", rows))
    if any(each["region"] != each["to_region"] for each in plan["moves"]):
        parts.append(make_table("Regions, at Fly's list prices", make_region_rows(plan["moves"])))
    return [*parts, Text(format_cost(plan)), Text("Nothing was changed")]


def _describe_planned(target: Mapping[str, Any], emails: Mapping[str, str]) -> dict[str, Any]:
    fate = (
        {"wave": name_wave(target["wave"])}
        if target["left_out"] is None
        else {"why": format_left_out(target["left_out"])}
    )
    user = emails.get(target["user_id"]) or target["user_id"]
    return {"user": user, "app": target["app"], "tier": target["tier"], **fate}


def format_cost(plan: Mapping[str, Any]) -> str:
    """What the apps of a release cost now and would cost."""
    apps = count_apps(sum(wave["size"] for wave in plan["waves"]))
    return f"Cost of {apps}: {plan['before_usd']} USD a month before, {plan['after_usd']} USD after, as estimated"


def format_created(release: Mapping[str, Any]) -> str:
    """What a new release will do."""
    sizes = ", ".join(f"{wave['size']}{' (canary)' if wave['wave'] == 0 else ''}" for wave in release["waves"])
    known = release["changes"].get("image_digest")
    digest = f"Digest: {known}\n" if known else ""
    return f"Release {release['id']} is a draft: {format_changes(release)}; waves of {sizes}\n{digest}{format_cost(release)}"


def format_fleet_releases(found: Mapping[str, Any]) -> list[str]:
    """One line for each release that is under way, from the answer of fly_releases."""
    return [format_headline(release) for release in found["releases"] if release["state"] in ("paused", *_UNDER_WAY)]


def format_plan_differences(differ: Mapping[str, Any]) -> str | None:
    """How many apps differ from their plan, and the command that repairs them. None if there are none."""
    differing = format_differing(differ)
    return f"{differing}: create a release with `hangar release create --drift`" if differing else None
