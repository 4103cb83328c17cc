"""Removes credentials from texts: the secrets that this process knows, and everything that is shaped like a credential."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote

MASK = "[redacted]"
EXCERPT_CHARS = 256
# Shorter secrets, such as "true", would remove ordinary words from every message and protect nothing.
SHORTEST_SECRET_CHARS = 6
# What a writer of JSON may escape beside letters of other languages: Go writes <, > and & as numbers.
_ESCAPED = {
    '"': r'\\*"', "'": r"\\*'", "\\": r"\\+", "\n": r"(?:\n|\\+n)", "\r": r"(?:\r|\\+r)", "\t": r"(?:\t|\\+t)",
    "<": "<", ">": ">", "&": "&",
}  # fmt: skip
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


def cut_excerpt(text: str, limit: int = EXCERPT_CHARS) -> str:
    """`text` on one line with at most `limit` characters; a cut ends with an ellipsis. Credentials are masked.

    Every text from outside passes through here before it enters a message, because messages are stored, sent and shown.
    """
    line = " ".join(mask_credentials(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def hide_secrets(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without these secrets and without credentials, for a response that may echo what was sent."""
    return _make_redactor(secrets).clean(text)


class Redactor:
    """Replaces known secrets, also in parts or escaped, and everything that is shaped like a credential."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first: a secret that contains another one must be replaced as a whole.
        parts = sorted({part for secret in secrets for part in _parts(secret)}, key=len, reverse=True)
        forms = [form for part in parts for form in (_escaped_form(part), re.escape(quote(part, safe="")))]
        self._known = re.compile("|".join(forms)) if forms else None

    def clean(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return mask_credentials(text)


@lru_cache(maxsize=8)
def _make_redactor(secrets: tuple[str, ...]) -> Redactor:
    """Cached: every response of Fly is checked for the same secrets of the process."""
    return Redactor(secrets)


def _parts(secret: str) -> Iterator[str]:
    """What reveals a secret: itself, the lines of a PEM, the values of a JSON object, the parts of a list or Fly token."""
    parts = {secret}
    if secret.startswith("-----"):
        parts.update(line for line in secret.splitlines() if not line.startswith("-----"))
    elif secret.startswith("{"):
        parts.update(re.findall(r':\s*"((?:[^"\\]|\\.)+)"', secret))
    else:
        parts.update(part for part in re.split(r"[,\s]+", secret) if part != "FlyV1")
        parts.add(secret.removeprefix("whsec_"))
    return (part for part in parts if len(part) >= SHORTEST_SECRET_CHARS)


def _escaped_form(text: str) -> str:
    """A pattern for the text as it is, and as JSON or repr writes it: with quotes, line ends and numbers escaped."""
    return "".join(_escaped_sign(char) if char in _ESCAPED or not char.isascii() else re.escape(char) for char in text)


def _escaped_sign(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    number = "".join(rf"\\+u{units[start : start + 4]}" for start in range(0, len(units), 4))
    return f"(?:{_ESCAPED.get(char) or re.escape(char)}|(?i:{number}))"
