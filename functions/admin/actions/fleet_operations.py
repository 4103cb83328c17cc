"""Actions about several apps: what they will hit, which forms about them are out of date, and what they do."""

import logging
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from functions.admin.actions.function_client import ActionOutcome
from functions.admin.actions.request import ActionRequest
from functions.admin.views.releases import format_apps
from shared.adapters.operator_database import OperatorDatabase
from shared.domain.errors import Conflict, HangarError, Refused, TransientError
from shared.domain.models import Json

_log = logging.getLogger("hangar.admin")

MOST_AT_ONCE = 100
SHOWN_APPS = 20
_RETRY_FOR_S = 20


def read_cause(database: OperatorDatabase, cause: str) -> Json:
    """The apps that fail for this cause now: `ready` of them can be retried. {} if none fails for it."""
    causes = database.read_failures(cause, MOST_AT_ONCE)
    return causes[0] if causes else {}


def warn_of_retry(cause: Mapping[str, Any]) -> str:
    """What a retry of this cause will do."""
    ready, others = cause["ready"], cause["apps"] - cause["ready"]
    text = (
        f"Hangar tries {format_apps(min(ready, MOST_AT_ONCE))} again now, "
        "with the image and size that plan and settings name today."
    )
    if ready > MOST_AT_ONCE:
        text = f"{text} That is the most at once, of {ready:,}: repeat it for the others."
    return f"{text} {format_apps(others)} {'is' if others == 1 else 'are'} due or at work already." if others else text


def explain_stale_retry(cause: Mapping[str, Any], name: str, seen: str | None) -> str:
    """Why a form about a cause does nothing any more. Empty if it may be used; more apps than the form showed need a new look."""
    words = name.replace("_", " ")
    if not cause:
        return f"No app fails with the cause {words} any more, so nothing was done."
    if not cause["ready"]:
        return f"Every app with the cause {words} is due or at work already, so nothing was done."
    if seen is not None and not (
        seen.isascii() and seen.isdecimal() and len(seen) < 10 and cause["ready"] <= int(seen)
    ):
        now = format_apps(cause["ready"])
        return f"Nothing was done yet: meanwhile {now} would be retried. Check the list and confirm it again."
    return ""


def retry_cause(action: ActionRequest) -> ActionOutcome:
    """Make the apps that fail for one cause due now, at most `MOST_AT_ONCE`."""
    ready = [app for app in action.details["some"] if app["ready"]]
    ends_at = time.monotonic() + _RETRY_FOR_S
    retried, refused = 0, []
    for app in ready:
        if time.monotonic() > ends_at:
            break
        try:
            action.database.retry(UUID(app["user_id"]), actor=action.actor, reason=action.reason)
            retried += 1
        except TransientError as error:
            refused.append(f"{app['email'] or app['fly_app_name']}: {error}")
            _log.warning("a retry of many stopped at %s: %s", app["user_id"], error)
            break  # the database does not answer now
        except (Refused, Conflict) as error:
            refused.append(f"{app['email'] or app['fly_app_name']}: {error}")
        except HangarError as error:
            _log.exception("a retry of many failed for %s", app["user_id"], exc_info=error)
            refused.append(f"{app['email'] or app['fly_app_name']}: {error}")
    left = action.details["ready"] - retried
    parts = [f"{format_apps(retried)} {'is' if retried == 1 else 'are'} due now."]
    if retried:
        parts.append("The next drain, within a minute, works on them.")
    if left:
        parts.append(
            f"{format_apps(left)} with this cause {'was' if left == 1 else 'were'} not retried. Repeat it for them."
        )
    if refused:
        parts.append(f"The first error: {refused[0]}.")
    return ActionOutcome("bad" if refused else "busy" if left else "good", " ".join(parts), page="failures")
