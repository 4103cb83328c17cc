"""The validators of the settings. Each says in words what form it expects, and parses a text or returns None.

Keys are checked by their shape only. Whether a key is the right one shows at its first use.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

T = TypeVar("T")

# Which registries may be asked about an image: all, only those on this machine, or none.
LookupScope = Literal["all", "loopback", "off"]

CALLED_FUNCTIONS = frozenset({"provision", "deprovision", "health"})
MIN_TIMEOUT_S = 10
MAX_TIMEOUT_S = 3600
# DER of the object identifier 1.2.840.10045.3.1.7 (prime256v1, RFC 5480 2.1.1.1), which every ES256 key file carries.
_P256_OID_DER = bytes.fromhex("06082a8648ce3d030107")
_PEM = re.compile(
    r"-----BEGIN (?P<label>(?:EC )?PRIVATE KEY)-----\s*(?P<body>[A-Za-z0-9+/=\s]+)-----END (?P=label)-----", re.ASCII
)
_JWT = re.compile(r"[A-Za-z0-9_-]+\.(?P<claims>[A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Validator(Generic[T]):
    """What a setting must look like. `parse` returns None for any other text."""

    expected: str
    parse: Callable[[str], T | None]


def parse_uuid(value: object) -> UUID | None:
    """The uuid that `value` holds in its canonical text form, 8-4-4-4-12 hex digits in any case; None for everything else.

    Stricter than `uuid.UUID`, which also takes braces, `urn:uuid:` and digits without hyphens.
    """
    return UUID(value) if isinstance(value, str) and _UUID.fullmatch(value) else None


def unpad_base64url(text: str) -> bytes | None:
    """Decode unpadded base64url, as JWK and JWT use it. None if `text` is not valid."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text, re.ASCII):
        return None
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None


def _parse_base_url(value: str) -> str | None:
    url = _parse_web_url(value)
    if url is None:
        return None
    parts = urlsplit(url)
    return None if parts.query or parts.fragment else url.rstrip("/")


def _parse_web_url(value: str) -> str | None:
    if not re.fullmatch(r"[!-~]+", value, re.ASCII):
        return None
    try:
        parts = urlsplit(value)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return None
    valid = parts.scheme in ("http", "https") and parts.hostname and port_is_valid and "@" not in parts.netloc
    return value if valid else None


def _parse_web_urls(value: str) -> tuple[str, ...] | None:
    # A URL may contain commas: only one in front of the next URL separates.
    urls = [_parse_web_url(part) for part in re.split(r"[,\s]+(?=https?://)", value.strip(", \t\n"))]
    found = tuple(dict.fromkeys(url for url in urls if url is not None))
    return found if found and None not in urls else None


def _parse_origins(value: str) -> tuple[str, ...] | None:
    found: list[str] = []
    for origin in re.split(r"[,\s]+", value.strip(", \t")):
        url = _parse_base_url(origin)
        if url is None or urlsplit(url).path or "*" in url:
            return None
        found.append(url.lower())
    return tuple(dict.fromkeys(found))


def read_key_claims(value: str) -> dict[str, Any] | None:
    """The claims of a legacy Supabase key (a JWT), not verified. None if the value is not a JWT."""
    match = _JWT.fullmatch(value)
    return _load_object((unpad_base64url(match["claims"]) or b"").decode("utf-8", "replace")) if match else None


def _jwt_role(value: str) -> str | None:
    """The role in a legacy Supabase key. None if the value is not a JWT."""
    claims = read_key_claims(value)
    role = claims.get("role") if claims else None
    return role if isinstance(role, str) else None


def _load_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _parse_secret_key(value: str) -> str | None:
    if re.fullmatch(r"sb_secret_[!-~]{8,}", value, re.ASCII):
        return value
    return value if _jwt_role(value) == "service_role" else None


def _parse_publishable_key(value: str) -> str | None:
    if re.fullmatch(r"sb_publishable_[!-~]{8,}", value, re.ASCII):
        return value
    return value if _jwt_role(value) == "anon" else None


def _parse_webhook_secret(value: str) -> str | None:
    return value if webhook_key(value) else None


def webhook_key(value: str) -> bytes | None:
    """The 24 to 64 key bytes of a Standard Webhooks secret `whsec_<base64>`. None if it is not one."""
    prefix, _, encoded = value.partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if prefix == "whsec" and 24 <= len(key) <= 64 else None


def _parse_private_key(value: str) -> str | None:
    if value.startswith("{"):
        return value if _is_private_jwk(_load_object(value)) else None
    text = value.replace("\\n", "\n")  # most consoles and .env files store a PEM on one line
    match = _PEM.fullmatch(text.strip())
    if not match:
        return None
    try:
        der = base64.b64decode("".join(match["body"].split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return text if _P256_OID_DER in der else None


def _is_private_jwk(jwk: dict[str, Any] | None) -> bool:
    if jwk is None or jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
        return False
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not kid or jwk.get("alg", "ES256") != "ES256":
        return False
    numbers = (jwk.get(part) for part in ("x", "y", "d"))
    return all(isinstance(number, str) and len(unpad_base64url(number) or b"") == 32 for number in numbers)


def _parse_env_map(value: str) -> dict[str, str] | None:
    pairs = _load_object(value)
    if pairs is None or not all(isinstance(text, str) and "\x00" not in text for text in pairs.values()):
        return None
    return pairs if all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII) for name in pairs) else None


def _parse_function_urls(value: str) -> dict[str, str] | None:
    """The URL of each function, from one base URL or a JSON object of URLs, as in Vault's `hangar_functions_url`."""
    if not value.startswith("{"):
        base = _parse_base_url(value)
        return None if base is None else {name: f"{base}/{name}" for name in CALLED_FUNCTIONS}
    urls = _load_object(value) or {}
    if not urls.keys() >= CALLED_FUNCTIONS:
        return None
    parsed = {name: _parse_base_url(url) if isinstance(url, str) else None for name, url in urls.items()}
    found = {name: url for name, url in parsed.items() if url is not None}
    return found if len(found) == len(urls) else None


def _parse_oauth_providers(value: str) -> tuple[str, ...] | None:
    names = tuple(part.strip() for part in value.split(","))
    return names if all(re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name, re.ASCII) for name in names) else None


def _parse_timeout(value: str) -> float | None:
    valid = re.fullmatch(r"\d{1,4}", value, re.ASCII) and MIN_TIMEOUT_S <= int(value) <= MAX_TIMEOUT_S
    return float(value) if valid else None


def _matching(pattern: str) -> Callable[[str], str | None]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: value if compiled.fullmatch(value) else None


base_url = Validator("a URL https://host[:port][/path] without user, query or fragment", _parse_base_url)
web_urls = Validator("one or more URLs https://…, separated by commas", _parse_web_urls)
origins = Validator("origins like https://admin.example.com, separated by commas, no wildcard", _parse_origins)
secret_key = Validator("a Supabase secret key (sb_secret_…) or a legacy service_role JWT", _parse_secret_key)
publishable_key = Validator(
    "a Supabase publishable key (sb_publishable_…) or a legacy anon JWT", _parse_publishable_key
)
fly_token = Validator(
    "a Fly organisation token as `fly tokens create org` prints it", _matching(r"(?:FlyV1 )?[!-~]{8,}")
)
slug = Validator(
    "the slug of a Fly organisation: lower-case letters, digits and hyphens", _matching(r"[a-z0-9][a-z0-9-]{0,62}")
)
installation_id = Validator("the uuid that `hangar.settings` holds as installation_id", parse_uuid)
webhook_secret = Validator("whsec_ followed by the base64 of 24 to 64 random bytes", _parse_webhook_secret)
static_secret = Validator("16 to 256 printable ASCII characters without spaces", _matching(r"[!-~]{16,256}"))
private_es256_key = Validator(
    "a private ES256 key (P-256): PEM (BEGIN PRIVATE KEY or BEGIN EC PRIVATE KEY, not encrypted) or a JWK as JSON with kid",
    _parse_private_key,
)
function_urls = Validator(
    'a base URL that the names of the functions are appended to, or {"provision": url, "deprovision": url, "health": url}',
    _parse_function_urls,
)
oauth_providers = Validator(
    "comma-separated names of Supabase Auth providers, such as github,google", _parse_oauth_providers
)
image_lookup = Validator("all, loopback or off", _matching(r"all|loopback|off"))
env_map = Validator('a JSON object with string values, like {"LOG_LEVEL": "info"}', _parse_env_map)
timeout_s = Validator(f"whole seconds from {MIN_TIMEOUT_S} to {MAX_TIMEOUT_S}", _parse_timeout)
