"""What a credential looks like, whoever's it is: those made while running, and those that an answer from outside echoes."""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MASK = "[redacted]"
_CREDENTIAL = re.compile(
    r"eyJ[\w-]{8,}(?:\.[\w-]*)*"  # a JWT, or the beginning of one that was cut
    r"|sb_secret_[\w-]+|whsec_[\w+/=-]+|FlyV1 \S+|\bfm[12]r?_[\w+/=-]+"
    r"|(?<=[Bb]earer )[\w.~+/=-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.ASCII,
)


def mask_credentials(text: str) -> str:
    """`text` with everything that is shaped like a credential replaced."""
    return _CREDENTIAL.sub(MASK, text)


EXCERPT_CHARS = 256


def cut_excerpt(text: str, limit: int = EXCERPT_CHARS) -> str:
    """`text` on one line, at most `limit` characters, the cut marked by an ellipsis; what looks like a credential is masked.

    Whatever comes from outside passes here on its way into a message, and a message is stored, sent and shown.
    """
    line = " ".join(mask_credentials(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


SHORTEST_SECRET_CHARS = 8


class Redactor:
    """Replaces known secret texts, their usual disguises, and whatever is shaped like a credential."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first: a secret that holds another must not leave its rest behind.
        parts = sorted({part for secret in secrets for part in _parts(secret)}, key=len, reverse=True)
        forms = [form for part in parts for form in (_escaped_form(part), re.escape(quote(part, safe="")))]
        self._known = re.compile("|".join(forms)) if forms else None

    def clean(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return mask_credentials(text)


def _parts(secret: str) -> Iterator[str]:
    """What gives a secret away: itself, a PEM's lines, a JWK's `d`, the parts of a Fly token, a webhook secret's key."""
    parts = {secret}
    if secret.startswith("-----"):
        parts.update(line for line in secret.splitlines() if not line.startswith("-----"))
    elif secret.startswith("{"):
        parts.update(re.findall(r'"d"\s*:\s*"([^"]+)"', secret))
    else:
        parts.update(part for part in re.split(r"[ ,]", secret) if part != "FlyV1")
        parts.add(secret.removeprefix("whsec_"))
    return (part for part in parts if len(part) >= SHORTEST_SECRET_CHARS)


def _escaped_form(text: str) -> str:
    """A pattern for the text as it is and as JSON or repr, once or more, would write its quotes, backslashes and line ends."""
    pieces = {'"': r'\\*"', "'": r"\\*'", "\\": r"\\+", "\n": r"(?:\n|\\+n)"}
    return "".join(pieces.get(char) or re.escape(char) for char in text)
