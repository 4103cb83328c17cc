"""The procedures behind the dashboard's pages. They only read. `Database` inherits them.

Templates show the rows as they are, so the rows stay plain JSON; docs/database.md lists their keys. Money is text. A cursor is
the `next` of one page and the `after` of the following one. It is None at the end.
"""

from dataclasses import dataclass
from uuid import UUID

from shared.adapters.database import Caller
from shared.domain.models import Json


@dataclass(frozen=True)
class AppPage:
    """A page of apps. `search_cut`: the search matched too many users, so only the apps of the first ones were listed.

    `apps` is how many apps match in all and `above` how many of them come before this page, if they were counted.
    """

    rows: list[Json]
    next: list[str] | None
    search_cut: bool
    previous: list[str] | None = None
    apps: int | None = None
    above: int = 0


@dataclass(frozen=True)
class FleetFigures:
    """The counts at the head of the fleet page, by status and health, and the tiers and regions of which there are apps.

    A group has `status`, `health`, `apps`, `monthly_cost_estimate_usd`, `monthly_list_price_usd`, `running`, `due`, `overdue`,
    `stuck`, `drifted` and `working`. A tier is also listed if it is a plan without an app.
    """

    groups: list[Json]
    tiers: list[Json]
    regions: list[Json]


@dataclass(frozen=True)
class EventPage:
    """A page of the audit log, newest first."""

    events: list[Json]
    next: list[str] | None


@dataclass(frozen=True)
class FoundUsers:
    """The users who match a search, and whether there are more than were asked for.

    A user has `user_id`, `email`, `tier`, `subscription`, `override`, `fly_app_name`, `status` and `health_status`.
    """

    users: list[Json]
    more: bool


class DashboardProcedures(Caller):
    """What the pages of the dashboard show."""

    def read_frame(self, user_id: str) -> Json | None:
        """What every page shows around its content. None when the user is no operator.

        `operator`, `email`, `now`, `settings`, `sweep`, `brake`, `alerts`, `failures`.
        """
        answer: Json = self._call("fly_admin_frame", user=user_id)
        return answer if answer.get("operator") is True else None

    def read_figures(self) -> FleetFigures:
        """The counts at the head of the fleet page, and what the fleet can be filtered by."""
        answer = self._call("fly_admin_figures")
        return FleetFigures(groups=answer["groups"], tiers=answer["tiers"], regions=answer["regions"])

    def read_fleet(
        self,
        filters: Json,
        sort: str,
        after: list[str] | None,
        limit: int,
        *,
        descending: bool,
        before: list[str] | None = None,
        count: bool = False,
    ) -> AppPage:
        """A page of apps: the one after a place, or the one before it.

        A row has the columns of user_fly_apps, `email` and `override`.
        Raises Refused with the code "invalid_value" for a status, health or work that does not exist.
        """
        answer = self._call(
            "fly_admin_fleet",
            filter=filters,
            sort=sort,
            descending=descending,
            after=after,
            limit=limit,
            before=before,
            count=count,
        )
        return AppPage(
            rows=answer["rows"],
            next=answer["next"],
            search_cut=answer["search_cut"],
            previous=answer["previous"],
            apps=answer["apps"],
            above=answer["above"] or 0,
        )

    def read_failures(self, cause: str | None, apps: int) -> list[Json]:
        """The causes for which apps fail, or one of them: `apps`, `stuck`, `ready`, `since` and `some` of its apps."""
        causes: list[Json] = self._call("fly_admin_failures", cause=cause, apps=apps)["causes"]
        return causes

    def read_brake_release(self, limit: int) -> Json:
        """The state of the brake with what a release lets go: `leaving`, `losing`, `losing_apps`, `orphans`."""
        answer: Json = self._call("fly_admin_brake", limit=limit)
        return answer

    def read_user(self, user_id: UUID) -> Json | None:
        """One user with app, costs and override. None when nothing is known of the user.

        The keys of `UserStatus.document` without `events`, and `now`, `email`, `settings`, `plans`, `lives`, `cost`, `days`,
        `health`, `health_from`.
        """
        answer: Json = self._call("fly_admin_user", user=str(user_id))
        return answer if answer["known"] else None

    def read_events(self, filters: Json, after: list[str] | None, limit: int) -> EventPage:
        """A page of the audit log, newest first. An event has the columns of user_fly_app_events, `email` and `fly_app_name`."""
        answer = self._call("fly_admin_events", filter=filters, after=after, limit=limit)
        return EventPage(events=answer["events"], next=answer["next"])

    def search_users(self, query: str, limit: int) -> FoundUsers:
        """Users whose e-mail address, id or app matches."""
        answer = self._call("fly_admin_search", query=query, limit=limit)
        return FoundUsers(users=answer["users"], more=answer["more"])
