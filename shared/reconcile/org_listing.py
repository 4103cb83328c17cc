"""What Fly's lists of the whole organisation say beside one app that a direct read denies: read to the end, or not at all."""

from typing import TYPE_CHECKING

from shared.domain.errors import NotOwned, Refused
from shared.domain.machine_config import ROW_KEY
from shared.domain.machine_states import GONE_STATES
from shared.domain.naming import installation_mark, read_proof
from shared.domain.observation import OrgListing

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from shared.domain.models import Row
    from shared.fly.client import FlyClient
    from shared.fly.models import FlyApp
    from shared.fly.retry import AttemptLog


# Fly refuses the token; other refusals, such as an unpaid invoice, concern the whole organisation and have their own alert.
_NOT_ALLOWED = ("token", "not_owned")


def read_org_listing(
    row: "Row",
    fly: "FlyClient",
    installation_id: "UUID",
    is_ours: "Callable[[FlyApp], bool]",
    attempts: "AttemptLog",
    budget_s: float,
) -> OrgListing:
    """Read both lists. `is_ours` judges an app of the row's name. A refusal is part of the answer.

    Raises what the client raises otherwise: a list of which a part could not be read proves nothing.
    """
    mark, name = installation_mark(installation_id), row.fly_app_name
    total, names, ours, regions = 0, set[str](), set[str](), set[str]()
    shows_ours = is_listed = False
    try:
        for apps in fly.list_apps(attempts=attempts, budget_s=budget_s):
            total = max(total, apps.total or 0)
            for app in apps.apps:
                names.add(app.name)
                proof = read_proof(app.network)
                if app.name == name:
                    shows_ours = shows_ours or is_ours(app)
                elif proof is not None and proof.installation == mark:
                    ours.add(app.name)
        for page in fly.list_org_machines(attempts=attempts, budget_s=budget_s):
            regions.update(page.error_regions)
            for machine in page.machines:
                if machine.app_name == name and machine.state not in GONE_STATES:
                    is_listed = True
                    shows_ours = shows_ours or machine.metadata.get(ROW_KEY) == str(row.id)
    except (NotOwned, Refused) as refused:
        if refused.code not in _NOT_ALLOWED:
            raise
        return OrgListing(refused=refused.message)
    return OrgListing(
        shows_name=is_listed or name in names,
        shows_ours=shows_ours,
        ours=len(ours),
        unread_apps=max(0, total - len(names)),
        error_regions=tuple(sorted(regions)),
    )
