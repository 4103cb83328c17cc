"""What a credential looks like, whoever's it is: those made while running, and those that an answer from outside echoes."""

import re

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
