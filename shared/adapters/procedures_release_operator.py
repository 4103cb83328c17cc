"""The procedures behind an operator's releases and pins. `OperatorDatabase` inherits them.

A method returns plain JSON, because the command line prints it and a page shows it; docs/database.md lists the keys.
"""

from uuid import UUID

from shared.adapters.database import Caller
from shared.domain.models import Json

_TARGETS_PER_CALL = 5000


class ReleaseOperatorProcedures(Caller):
    """What an operator asks of releases and pins. `actor` signs the audit log; `why` and `reason` go with it."""

    def create_release(
        self, release: Json, *, actor: str, why: str | None, dry_run: bool = False, request: UUID | None = None
    ) -> Json:
        """Plan a release as a draft, or with `dry_run` only show what it would do.

        The same `request` makes only one release; its second answer has `repeated`. Raises Refused with the code
        "invalid_value" when the release cannot be made, and Conflict when another one moves some of its apps.
        """
        answer: Json = self._call(
            "fly_create_release",
            release=release,
            actor=actor,
            why=why,
            dry_run=dry_run,
            request=str(request) if request else None,
        )
        return answer

    def change_release(self, release_id: int, action: str, *, actor: str, why: str | None) -> Json:
        """Start, pause, resume, abort or roll back a release. Its state without targets, with `changed`.

        Raises Conflict when the release is in a state that does not allow it.
        """
        answer: Json = self._call("fly_change_release", id=release_id, action=action, actor=actor, why=why)
        return answer

    def read_release(self, release_id: int) -> Json:
        """One release with all its targets, however many. Raises Refused with the code "invalid_value" if there is none."""
        found: Json = self._read_release_page(release_id, 0)
        page = targets = found["targets"]
        # An app that joins the release between two pages may come twice.
        while len(page) == _TARGETS_PER_CALL:
            page = self._read_release_page(release_id, len(targets))["targets"]
            targets = targets + page
        return {**found, "targets": list({(each["app"], each["user_id"]): each for each in targets}.values())}

    def _read_release_page(self, release_id: int, offset: int) -> Json:
        answer: Json = self._call("fly_release", id=release_id, targets=_TARGETS_PER_CALL, offset=offset)
        return answer

    def list_releases(self, limit: int) -> Json:
        """The newest `limit` releases without targets (`releases`), and how many apps differ from their plan (`differ`)."""
        answer: Json = self._call("fly_releases", limit=limit)
        return answer

    def set_user_pin(self, user_id: UUID, pin: Json | None, *, actor: str, reason: str | None) -> Json:
        """Change what is pinned for one user, key by key; None removes the whole pin. `pin` and `row` as they are now.

        Raises Refused with the code "invalid_value" when the pin is not allowed.
        """
        answer: Json = self._call("fly_set_user_pin", user=str(user_id), pin=pin, actor=actor, reason=reason)
        return answer
