"""Erased persons and the archive: an object of the archive cannot be changed, so a restore leaves the person out.

Beside the batches, below `erased/`, the bucket holds one small object for each erasure: a hash of the user's id, the
pseudonym, and hashes of the addresses. Only the archive's own rows, which still have the id, can be matched with it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from ops.archive.bucket import Bucket
from ops.archive.objects import DamagedObject, hash_bytes
from shared.domain.models import Json

FOLDER = "erased/"
ERASED = "(erased)"
_TYPE = "application/json"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# As hangar.email_pattern searches: an address ends where a longer one would go on. An escape of JSON is no part of an address.
_EMAIL = re.compile(
    r"(?P<escape>\\(?:u[0-9a-f]{4}|.))|[^\s\"\\@<>(),;:]+(?:@|%40)[\w-]+(?:\.[\w-]+)*", re.IGNORECASE | re.DOTALL
)
# Where an address may begin within such a match: behind a sign, an escape of a URL, or the rest of an escape in inner JSON.
_SIGN = re.compile(r"%[0-9a-f]{2}|[^\w.%+-]", re.IGNORECASE)
_REST_OF_ESCAPE = re.compile(r"[nrtbf]|u[0-9a-f]{4}", re.IGNORECASE)
# What operators wrote about the person, and the commands that they ran, in the text of a row.
_FREE_TEXT = re.compile(r'("(?:reason|command)": )"(?:[^"\\]|\\.)*"')
_COMMAND_ERROR = re.compile(r'("error_details": )"(?:[^"\\]|\\.)*"')
_TIMES = {"events": "created_at", "samples": "started_at", "closed_rows": "opened_at"}


def write_erasures(bucket: Bucket, installation_id: str, erased: Iterable[Json]) -> list[str]:
    """Write what is not in the bucket yet. Safe to repeat. Returns the names of the new objects."""
    below = f"{bucket.location.prefix}{installation_id}/{FOLDER}"
    wanted = {f"{below}{person['pseudonym']}-{hash_bytes(_encode(person))[:12]}.json": person for person in erased}
    if not wanted:
        return []
    known = set(bucket.list_keys(below))
    return [key for key, person in wanted.items() if key not in known and bucket.create(key, _encode(person), _TYPE)]


def _encode(person: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(person), sort_keys=True).encode()


@dataclass
class _Person:
    pseudonym: str
    erased_at: datetime
    email_hashes: set[str] = field(default_factory=set)


class Eraser:
    """Leaves erased persons out of restored rows. First `look_at` every row, then `erase` each of them."""

    def __init__(self, installation_id: str, source: str, persons: Mapping[str, "_Person"]) -> None:
        self._installation_id = installation_id
        self._source = source
        self._persons = persons
        self._found: dict[str, _Person] = {}
        self._seen: set[str] = set()

    @property
    def has_persons(self) -> bool:
        """Whether anybody was erased."""
        return bool(self._persons)

    def look_at(self, line: str) -> None:
        """Learn which erased users the archive names."""
        if not self._persons:
            return
        for text in set(_UUID.findall(line)):
            user = text.lower()
            if user not in self._seen:
                self._seen.add(user)
                person = self._persons.get(_hash(f"{self._installation_id}:{user}"))
                if person:
                    self._found[user] = person

    def erase(self, line: str) -> str:
        """The row without them. A row that is younger than an erasure is of a later life of the same user, and stays."""
        if not self._found:
            return line
        row = json.loads(line)
        at = datetime.fromisoformat(row[_TIMES[self._source]])
        users = {user: person for user, person in self._found.items() if at <= person.erased_at}
        if row.get("user_id") in users:
            line = _FREE_TEXT.sub(rf'\1"{ERASED}"', line)
            if row.get("event_type") == "command_run":
                line = _COMMAND_ERROR.sub(rf'\1"{ERASED}"', line)
        line = _UUID.sub(lambda match: _replace_user(match[0], users), line)
        return _EMAIL.sub(lambda match: _replace_email(match, users), line)


def read_eraser(bucket: Bucket, installation_id: str, source: str) -> Eraser:
    """The persons whom the bucket says were erased. Raises DamagedObject when one of these objects cannot be read."""
    persons: dict[str, _Person] = {}
    for document in _read_documents(bucket, f"{bucket.location.prefix}{installation_id}/{FOLDER}"):
        erased_at = datetime.fromisoformat(document["erased_at"])
        person = persons.setdefault(document["user_hash"], _Person(document["pseudonym"], erased_at))
        person.erased_at = max(person.erased_at, erased_at)
        person.email_hashes |= set(document["email_hashes"])
    return Eraser(installation_id, source, persons)


def _read_documents(bucket: Bucket, below: str) -> Iterator[Json]:
    for key in bucket.list_keys(below):
        data = bucket.read(key)
        try:
            document = json.loads(data or b"")
            _ = document["user_hash"], document["pseudonym"], document["erased_at"], document["email_hashes"]
        except (ValueError, KeyError, TypeError):
            raise DamagedObject(f"the object {key} does not say who was erased; nothing was restored") from None
        yield document


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _replace_user(text: str, users: Mapping[str, _Person]) -> str:
    person = users.get(text.lower())
    return person.pseudonym if person else text


def _replace_email(match: re.Match[str], users: Mapping[str, _Person]) -> str:
    text = match[0]
    if match["escape"]:
        return text
    starts = [0, *(sign.end() for sign in _SIGN.finditer(text))]
    if match.string[: match.start()].endswith("\\"):
        starts += [rest.end() for rest in [_REST_OF_ESCAPE.match(text)] if rest]
    for start in sorted(starts):
        for address in {text[start:].lower(), unquote(text[start:]).lower()}:
            if any(_hash(f"{user}:{address}") in person.email_hashes for user, person in users.items()):
                return text[:start] + ERASED
    return text
