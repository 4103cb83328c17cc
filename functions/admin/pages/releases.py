"""Releases: the list, and one release with its waves, reasons and apps."""

import flask

from functions.admin.actions.release_offers import offer_release_actions
from functions.admin.pages.filters import Filter, read_filter, refuse_filters
from functions.admin.pagination import read_cursor, write_cursor
from functions.admin.request_context import MOST_RELEASE_ID, get_context, read_arg, read_release_id, show
from functions.admin.views.releases import (
    PARTS,
    count_parts,
    describe_changes,
    describe_next,
    describe_pause,
    describe_progress,
    describe_selection,
    describe_wave,
    draw_waves,
)
from shared.domain.release_text import format_kept

blueprint = flask.Blueprint("releases", __name__)
PAGE_ROWS = 50
LIST_ROWS = 20


@blueprint.get("/releases")
def show_releases() -> flask.Response:
    """The releases, the latest first, and how many apps differ from their plan."""
    if refused := refuse_filters("before"):
        return refused
    page = get_context().database.read_release_list(read_release_id("before"), LIST_ROWS)
    return show(
        "releases.html",
        releases=[
            {
                "release": release,
                "changes": describe_changes(release),
                "progress": describe_progress(release),
                "wave": describe_wave(release),
            }
            for release in page.releases
        ],
        differ=page.differ,
        more=page.next,
        is_first=not read_arg("before"),
    )


@blueprint.get(f"/releases/<int(max={MOST_RELEASE_ID}):release_id>")
def show_release(release_id: int) -> flask.Response:
    """One release. 404 if there is none with this number."""
    found = _read_values()
    values = found.values
    release = get_context().database.read_release_page(release_id, values, read_cursor(read_arg("after")), PAGE_ROWS)
    if release is None:
        flask.abort(404)
    return show(
        "release.html",
        400 if found.problems else 200,
        release=release | {"apps": []} if found.problems else release,
        problems=found.problems,
        bars=draw_waves(release),
        changes=describe_changes(release),
        selection=describe_selection(release),
        pause=describe_pause(release),
        next_step=describe_next(release),
        kept=format_kept(release),
        actions=offer_release_actions(release),
        planned=sum(count_parts(release).values()),
        totals=count_parts(release) | {"left_out": release["parts"].get("left_out", 0)},
        values=values,
        part_names=PARTS,
        more=write_cursor(release["next"]),
        is_first=not read_arg("after"),
    )


def _read_values() -> Filter:
    """The filter of the apps from the address."""
    return read_filter({"part": PARTS}, {"wave": 100, "code": 100}, others=("after",))
