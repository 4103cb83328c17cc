"""Tokens and secrets of machines in words. Pure. No sentence contains a value of a secret, or names a button."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain.moments import format_moment

_HOLDS = {
    "paused": "Hangar is paused",
    "off": "token_renewal_share is 0",
    "installation": "the database belongs to another installation",
    "fly_unreachable": "Fly does not answer",
    "fly_refused": "Fly refuses the organisation's calls",
    "incident": "many apps are broken at once",
    "signing_key": "the project does not accept the key with which Hangar signs tokens",
    "renewal_failed": "apps that got a new token are unhealthy or failed",
}
_STATES = {
    "deployed": "deployed",
    "deploying": "at Fly; the machine is updated next",
    "unconfirmed": "unconfirmed: it is unknown whether Fly has it; run the same command again",
    "missing": "missing: Fly has lost it and Hangar has no value; set it again, or remove it",
}


def format_renewal(found: Mapping[str, Any]) -> str:
    """What the renewal of tokens does next, from `fly_credentials`."""
    if not found["due"]:
        return "no token is due; the next renewal begins 10 days before the first end"
    if held := found["held_by"]:
        return f"nothing is renewed, because {_HOLDS.get(held, held)}"
    share = float(found["renewal_share"])
    an_hour = max(1, int(share * found["apps"]))
    return f"at most {an_hour} an hour ({share:.0%} of {found['apps']}, at least one); {found['due']} wait"


def format_secret_state(secret: Mapping[str, Any]) -> str:
    """The state of one secret in words, from `secrets` of fly_user_status."""
    state = str(secret["state"])
    return _STATES.get(state, state)


def format_secrets(secrets: list[Mapping[str, Any]]) -> str | None:
    """The secrets of one user by name and state. None if there are none."""
    return "; ".join(f"{each['name']} ({format_secret_state(each)})" for each in secrets) or None


def format_token(user: Mapping[str, Any], now: datetime) -> str | None:
    """Until when the machine's token is valid, and whether tokens were revoked, from fly_user_status."""
    row, revoked = user["row"] or {}, user["revocation"]
    parts: list[str] = []
    if until := row.get("token_running_until"):
        over = datetime.fromisoformat(until) <= now
        parts.append(f"{'ended at' if over else 'valid until'} {format_moment(until)}")
    if revoked:
        reason = revoked["reason"] or "no reason given"
        parts.append(f"revoked if issued up to {format_moment(revoked['revoked_at'])} by {revoked['actor']}: {reason}")
    return "; ".join(parts) or None
