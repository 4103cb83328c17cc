"""Which actions a release's page offers, how each is worded for this release, and which forms are out of date. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from functions.admin.actions.registry import ACTIONS, ActionSpec
from functions.admin.views.releases import STATES, count_parts, describe_next, describe_pause, format_apps
from functions.admin.views.render import format_money

_BY_STATE = {
    "draft": ("start-release", "abort-release"),
    "rolling": ("pause-release", "abort-release", "roll-back-release"),
    "paused": ("resume-release", "abort-release", "roll-back-release"),
    "completed": ("roll-back-release",),
}
_STEPS = {
    "start": "started",
    "pause": "paused",
    "paused": "paused",
    "resume": "resumed",
    "abort": "aborted",
    "rollback": "rolled back",
}


def offer_release_actions(release: Mapping[str, Any]) -> list[ActionSpec]:
    """The actions that the database accepts for a release in this state."""
    names = list(_BY_STATE.get(release["state"], ()))
    counts = count_parts(release)
    if release["state"] == "draft" and (not sum(counts.values()) or release["plan"]["overlap"] is not None):
        names.remove("start-release")
    if release["state"] == "paused" and release["back"]:
        names.remove("resume-release")  # what failed is tried again only when it is back
    return [specialise_release(ACTIONS[name], release) for name in names]


def specialise_release(spec: ActionSpec, release: Mapping[str, Any]) -> ActionSpec:
    """The action for this release: it says how many apps it concerns."""
    counts = count_parts(release)
    total = sum(counts.values())
    moved = total - sum(counts.get(part, 0) for part in ("pending", "skipped", "reverted"))
    is_draft = release["state"] == "draft"
    if spec.name == "start-release" and is_draft:
        plan, left_out = release["plan"], release["parts"].get("left_out", 0)
        cost = f"Their estimated cost goes from {format_money(plan['before_usd'])} to {format_money(plan['after_usd'])} a month."
        rest = f" {format_apps(left_out)} {'is' if left_out == 1 else 'are'} left out." if left_out else ""
        return replace(
            spec, warning=f"{spec.warning} {format_apps(total)} in {len(release['waves'])} waves. {cost}{rest}"
        )
    if spec.name == "abort-release" and is_draft:
        return replace(spec, warning="Nothing has moved yet. The draft ends as aborted and cannot be started any more.")
    if spec.name in ("abort-release", "roll-back-release"):
        return replace(
            spec, warning=f"{spec.warning} {format_apps(moved)} {'has' if moved == 1 else 'have'} moved or begun to."
        )
    return spec


def mark_state(release: Mapping[str, Any]) -> str:
    """What a form remembers of the release that it was made for. A release that paused a second time is another one."""
    log = release["log"]
    return f"paused {log[0]['id']}" if release["state"] == "paused" and log else str(release["state"])


def explain_stale_form(spec: ActionSpec, release: Mapping[str, Any], seen: str | None) -> str:
    """Why this step is refused because of the state of the release. Empty if nothing is against it.

    `seen` is the mark of a form that was sent, None before one was.
    """
    is_offered = spec.name in {each.name for each in offer_release_actions(release)}
    if is_offered and seen in (None, mark_state(release)):
        return ""
    now = f"release {release['id']} is {STATES.get(release['state'], release['state'])}{_name_last_step(release)}"
    if is_offered or seen not in (None, mark_state(release)):
        begin = f"Nothing was done, because the release has changed since you opened the form: {now}."
    else:
        begin = f"Nothing was done: {now}, so {spec.label.lower()} is not possible."
    pause = f" Paused: {reason}" if (reason := describe_pause(release)) else ""
    return f"{begin}{pause} {describe_next(release)}"


def _name_last_step(release: Mapping[str, Any]) -> str:
    """Who did the last step: a person, or Hangar."""
    last = release["log"][0]["metadata"] if release["log"] else {}
    return f" ({_STEPS[last['what']]} by {last['actor']})" if last.get("what") in _STEPS and last.get("actor") else ""
