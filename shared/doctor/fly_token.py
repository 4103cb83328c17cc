"""Reads the end of a Fly token from the token itself, because Fly's API does not say it.

Source: superfly/macaroon (`caveat.go`, `caveat_set.go`, `macaroon.go`): a token is base64 of MessagePack, an array of nonce,
location, caveats and tail. Caveats alternate type and body; type 4 is the validity window [not before, not after] in Unix
seconds, type 13 holds further caveats. Nothing is verified here: only Fly can.
"""

import base64
import binascii
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

_VALIDITY_WINDOW = 4
_IF_PRESENT = 13
_DEEPEST = 16
_PREFIXES = ("fm1r_", "fm1a_", "fm2_")


class _UnreadableError(ValueError):
    """The bytes are not the MessagePack of a token."""


def read_expiry(token: str) -> tuple[bool, datetime | None]:
    """Whether `token` could be read, and when its first part ends; None if no part has an end."""
    parts = token.strip().removeprefix("FlyV1 ").removeprefix("Bearer ").split(",")
    ends: list[int] = []
    for part in parts:
        prefix = next((each for each in _PREFIXES if part.strip().startswith(each)), None)
        if prefix is None:
            return False, None
        try:
            ends += _read_ends(part.strip().removeprefix(prefix))
        except (_UnreadableError, struct.error, binascii.Error, IndexError, UnicodeDecodeError):
            return False, None
    try:
        return True, datetime.fromtimestamp(min(ends), UTC) if ends else None
    except (OverflowError, OSError, ValueError):
        return False, None


def _read_ends(text: str) -> list[int]:
    data = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
    document, _ = _unpack(data, 0)
    if not isinstance(document, list) or len(document) < 4 or not isinstance(document[2], list):
        raise _UnreadableError
    return list(_find_ends(document[2], 0))


def _find_ends(caveats: list[Any], depth: int) -> Iterator[int]:
    """The ends of the validity windows among these caveats; 0 or less means no end."""
    for kind, body in zip(caveats[::2], caveats[1::2], strict=False):
        if kind == _VALIDITY_WINDOW and isinstance(body, list) and len(body) > 1 and isinstance(body[1], int):
            if body[1] > 0:
                yield body[1]
        elif kind == _IF_PRESENT and isinstance(body, list) and body and isinstance(body[0], list) and depth < _DEEPEST:
            yield from _find_ends(body[0], depth + 1)


def _unpack(data: bytes, at: int, depth: int = 0) -> tuple[Any, int]:
    """One MessagePack value at `at`, and where the next one begins. Extensions are skipped."""
    if depth > _DEEPEST:
        raise _UnreadableError
    tag = data[at]
    at += 1
    if tag <= 0x7F:
        return tag, at
    if tag >= 0xE0:
        return tag - 0x100, at
    if tag <= 0x8F:
        return _unpack_many(data, at, 2 * (tag & 0x0F), depth)
    if tag <= 0x9F:
        return _unpack_many(data, at, tag & 0x0F, depth)
    if tag <= 0xBF:
        return _take(data, at, tag & 0x1F)
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag in _NUMBERS:
        size = struct.calcsize(_NUMBERS[tag])
        return struct.unpack_from(_NUMBERS[tag], data, at)[0], at + size
    if tag in _LENGTHS:
        form, extra, factor = _LENGTHS[tag]
        length = struct.unpack_from(form, data, at)[0]
        at += struct.calcsize(form)
        return _unpack_many(data, at, length * factor, depth) if factor else _take(data, at, length + extra)
    if 0xD4 <= tag <= 0xD8:  # extensions of 1, 2, 4, 8 and 16 bytes
        return _take(data, at, 1 + (1 << (tag - 0xD4)))
    raise _UnreadableError


_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
# Length, bytes beyond it (the type of an extension), and values for each unit: 0 means bytes.
_LENGTHS = {
    0xC4: (">B", 0, 0),
    0xC5: (">H", 0, 0),
    0xC6: (">I", 0, 0),
    0xC7: (">B", 1, 0),
    0xC8: (">H", 1, 0),
    0xC9: (">I", 1, 0),
    0xD9: (">B", 0, 0),
    0xDA: (">H", 0, 0),
    0xDB: (">I", 0, 0),
    0xDC: (">H", 0, 1),
    0xDD: (">I", 0, 1),
    0xDE: (">H", 0, 2),
    0xDF: (">I", 0, 2),
}


def _unpack_many(data: bytes, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    if count > len(data):
        raise _UnreadableError
    values = []
    for _ in range(count):
        value, at = _unpack(data, at, depth + 1)
        values.append(value)
    return values, at


def _take(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(data):
        raise _UnreadableError
    return data[at : at + length], at + length
