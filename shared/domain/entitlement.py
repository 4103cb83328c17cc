"""Why nothing is known about what a user is entitled to, in words. Pure."""

# By `why` of hangar.entitlements. For such a user Hangar changes and destroys nothing.
UNKNOWN_ENTITLEMENT = {
    "unknown_tier": "fly_plans does not list the user's tier",
    "no_tier": "the user's subscription has no tier",
    "unknown_status": "hangar.status_rules has no rule for the status of the user's subscription",
    "no_status": "the user's subscription has no status",
    "unreadable_end": "the end of the user's subscription cannot be read as a time",
    "not_bound": "no table of subscriptions is bound (docs/host-binding.md)",
    "unreadable_host": "the host's subscriptions cannot be read (the alert host_binding says why)",
}


def explain_unknown(why: str | None) -> str:
    """The reason as a clause without a full stop; a reason of a newer database as its code."""
    return UNKNOWN_ENTITLEMENT.get(why or "", why or "what the user is entitled to is not known")
