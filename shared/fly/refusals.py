"""The words by which Fly says why it refuses: the code of `shared.domain.errors.Refused` for each kind of refusal.

Fly sends the same status (403, 422, 400, …) for an open invoice, an exhausted quota, an unverified account and another
organisation's app. Only the text tells them apart. A text that matches nothing here is "refused": it is never read as
"this app is not ours". Sources: fly-go `flaps_error.go` and its tests, flyctl, public bug reports of API users.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BILLING",
    "CONFIG",
    "IMAGE",
    "NOT_AUTHORIZED",
    "NOT_OWNED",
    "POLICY",
    "PULL",
    "QUOTA",
    "RATE",
    "REGION_QUOTA",
    "SIZE",
    "TOKEN",
    "blank_names",
]


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_WHO = r"(?:account|organi[sz]ation|user|identity|e-?mail|phone number)"

# The account has to be verified, or Fly has restricted it. "violat" alone is not enough: a taken name is a violation too.
POLICY = _words(
    r"high.?risk",
    r"\babus(?:e|ive)\b",
    r"\bfraud",
    r"terms of (?:service|use)",
    r"acceptable use",
    r"\b(?:against|by|violat\w+) (?:our |the |fly(?:\.io)?'?s? )?polic(?:y|ies)",
    rf"verify your {_WHO}",
    rf"{_WHO}\b.{{0,40}}\b(?:un)?verifi(?:ed|cation)",
    rf"\bunverified {_WHO}",
    rf"{_WHO} (?:is|was|has been) (?:blocked|banned|locked|restricted|disabled|deactivated)",
)
# A quota of the memory in one region: another region may still have room (a public report of a fleet at 1.9 TB).
REGION_QUOTA = _words(r"\bin (?P<region>[a-z]{3}) which is over the allowed quota", r"please consider other regions")
# A limit of the organisation. Fly's text about limits names an address of its billing team, so quota comes before billing.
QUOTA = _words(
    r"\bquota\b",
    r"\blimit (?:has been |was |is )?(?:reached|exceeded)",
    r"\b(?:reach|exceed|hit)\w*\b.{0,60}\blimits?\b",
    r"\bover\b.{0,30}\blimits?\b",
    r"\blimit(?:s|ed)? (?:of|to) \d+",
    r"\bmaximum (?:number|amount) of\b",
    r"\btoo many (?:apps|machines|cpus|cores|addresses|ips)\b",
)
# An open invoice, no payment method, a trial that is over.
BILLING = _words(
    r"\binvoices?\b",
    r"\bpayments?\b",
    r"\bbilling\b",
    r"\bcredit card",
    r"\bunpaid\b",
    r"\boverdue\b",
    r"\bpast.due\b",
    r"\binsufficient (?:funds|credits?|balance)",
    r"\bout of credits?\b",
    r"\btrial\b.{0,40}\b(?:over|end(?:ed|s)?|expired|used up|exhausted|limit\w*)\b",
    r"\b(?:organi[sz]ation|account)\b.{0,20}\bsuspended\b",
    r"\bsuspended (?:organi[sz]ation|account)\b",
)
# The request itself: a size that does not exist, or an image that cannot be pulled, whatever limit or token the text names.
SIZE = _words(r"config\.guest", r"\binvalid\b.{0,20}\bguest\b", r"\bmemory_mb\b", r"\bcpu_kind\b")
# An image that cannot be pulled, for whatever reason: the registry's own words about limits and policies are not Fly's.
_CANNOT = r"\b(?:failed to|unable to|could ?n[o']t|cannot|can't|error)\b"
_PULL = r"\b(?:pull|fetch|resolv|find|get|load)\w*\b"
PULL = _words(
    r"\bmanifest\b.{0,160}\b(?:not found|unknown|denied|unauthorized|forbidden|blocked)\b",
    r"\bmanifest_unknown\b",
    rf"{_CANNOT}.{{0,20}}{_PULL}.{{0,40}}\b(?:images?|manifest)\b",
    r"\bimage\b.{0,200}\b(?:not found|does not exist)\b",
    r"\binvalid\b.{0,20}\bimage\b",
    r"\bto (?:pull|fetch)\b.{0,20}\bimage\b",
)
# The registry of an image has a limit for each client, and so has Fly: both pass.
RATE = _words(r"\brate.?limit", r"\btoo ?many ?requests\b")
# One machine's configuration is too large. Quotas of an organisation are counted in machines, cores or GB.
CONFIG = _words(
    r"\b(?:environment|env|config|metadata|payload|body)\b.{0,30}\b(?:exceed\w*|too (?:large|long|big))\b",
    r"\b(?:exceed\w*|limit|maximum)\b.{0,60}\b(?:\d+ ?ki?b|bytes|characters)\b",
)
IMAGE = _words(r"\bimages?\b", r"\bmanifest", r"\bregistry\b")
TOKEN = _words(r"\btokens?\b", r"\bmacaroons?\b", r"\bcredentials?\b", r"\bauthenticat")
# Fly's one word for a name that another organisation holds (fly-go `AppNameAvailable`), where the call is about one app.
NOT_OWNED = _words(
    r"^\W*(?:unauthorized|not authorized)\W*$",
    r"\b(?:belongs to|owned by) (?:another|a different) organi[sz]ation",
)
# The same word where the call is about the whole organisation: the token may not do that.
NOT_AUTHORIZED = _words(r"^\s*$", r"\bunauthorized\b", r"\bnot authorized\b", r"\bforbidden\b", r"\bpermission")

# An image with its registry or its tag, such as registry.fly.io/billing-app or acme/billing:v7, but no address of a page. And a
# name with a number in it, such as vyx-user-1a2b3c4d-main.
_REFERENCE = re.compile(
    r"(?<![\w./:-])(?:(?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?/[\w./:@+-]+|[a-z0-9][\w.-]*(?:/[\w.-]+)+(?::[\w.-]+|@sha256:\w+))",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(?<![\w./-])(?=[a-z-]*\d)[a-z0-9]+(?:-[a-z0-9]+)+", re.IGNORECASE)
_PLAIN_WORD = re.compile(r"[a-z]*", re.IGNORECASE)


def blank_names(text: str, names: Iterable[str]) -> str:
    """Fly's text without `names`, and without what looks like an image or a generated name.

    Such a name may be any word: "payments-app" says nothing about a payment. A name that is a plain word counts as a name only
    between quotation marks.
    """
    for name in sorted(set(names), key=len, reverse=True):
        edge = r"[\"'`]" if _PLAIN_WORD.fullmatch(name) else ""
        text = re.sub(rf"{edge}(?<![a-z0-9]){re.escape(name)}(?![a-z0-9]){edge}", "_", text, flags=re.IGNORECASE)
    return _NUMBERED.sub("_", _REFERENCE.sub("_", text))
