"""Rebuilds one source from the bucket alone: every row once, in the order of its number."""

import contextlib
import errno
import json
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ops.archive.bucket import Bucket
from ops.archive.erasures import Eraser, read_eraser
from ops.archive.objects import MANIFEST_END, OBJECT_END, DamagedObject, decompress, hash_bytes, read_manifest
from ops.connection import TargetError

# An alert may have an address of an erased person without the id, by which the address is recognised. The log has the id.
_ALSO_NAMED_IN = {"closed_rows": "events"}
_INSTALLATION = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")


def restore_rows(bucket: Bucket, source: str, into: Path, installation_id: str | None = None) -> int:
    """Write the rows of a source to a new file as JSON lines, and return how many. Needs no database.

    A person who was erased is left out: the rows have the pseudonym and no address.

    Raises TargetError when the file exists or the bucket holds several installations, and DamagedObject, without leaving a
    file, when an object or a manifest is missing or was changed.
    """
    check_new_file(into)
    chosen = installation_id or _find_installation(bucket)
    below = f"{bucket.location.prefix}{chosen}"
    # Beside the file, where there must be room for it anyway. The folder goes also after an error.
    with tempfile.TemporaryDirectory(prefix=f".{into.name}.", dir=into.parent) as folder:
        partial = Path(folder) / into.name
        with contextlib.closing(sqlite3.connect(Path(folder) / "rows")) as rows:
            try:
                count = _copy_rows(bucket, below, source, rows, read_eraser(bucket, chosen, source), partial)
            except sqlite3.Error as error:
                raise OSError(errno.EIO, str(error), str(into)) from error
        partial.replace(into)
    return count


def check_new_file(path: Path) -> None:
    """Raises TargetError unless a file of this name can be made."""
    try:
        if path.exists():
            raise TargetError(f"{path} exists already; name a new file")
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise TargetError(f"{path.parent} is not a writable folder")
    except OSError as error:
        raise TargetError(f"{str(path)[:60]} cannot be the name of a file: {error.strerror}") from None


def _copy_rows(bucket: Bucket, below: str, source: str, rows: sqlite3.Connection, eraser: Eraser, partial: Path) -> int:
    rows.execute("create table lines (seq integer primary key, line text not null)")
    for _, lines in read_batches(bucket, f"{below}/{source}/"):
        _store(rows, lines, eraser)
    if eraser.has_persons and source in _ALSO_NAMED_IN:
        for _, lines in read_batches(bucket, f"{below}/{_ALSO_NAMED_IN[source]}/"):
            for line in lines:
                eraser.look_at(line)
    count = 0
    with partial.open("w", encoding="utf-8") as file:
        for (line,) in rows.execute("select line from lines order by seq"):
            file.write(f"{eraser.erase(line)}\n")
            count += 1
    return count


def _find_installation(bucket: Bucket) -> str:
    prefix = bucket.location.prefix
    found = {match[1] for key in bucket.list_keys(prefix) if (match := _INSTALLATION.match(key.removeprefix(prefix)))}
    if len(found) != 1:
        held = f"objects of {len(found)} installations: {', '.join(sorted(found))}" if found else "no archive"
        raise TargetError(f"below {prefix or 'its top'}, the bucket holds {held}; choose one with --installation")
    return found.pop()


def read_batches(bucket: Bucket, below: str) -> Iterator[tuple[str, list[str]]]:
    """Name and lines of one object after the other, each compared with its manifest. Raises DamagedObject.

    An object without a manifest is left out: its run ended before it deleted anything.
    """
    keys = set(bucket.list_keys(below))
    for key in sorted(name for name in keys if name.endswith(MANIFEST_END)):
        data = bucket.read(key)
        if data is None:
            raise DamagedObject(f"the manifest {key} has just been removed")
        manifest = read_manifest(key, data)
        lines_key = key.removesuffix(MANIFEST_END) + OBJECT_END
        found = bucket.read(lines_key)
        if found is None:
            raise DamagedObject(f"the object {lines_key} is missing, which the manifest {key} names")
        if hash_bytes(found) != manifest["object_sha256"]:
            raise DamagedObject(f"the object {lines_key} was changed: its SHA-256 is not that of its manifest")
        content = decompress(lines_key, found)
        # Not splitlines, which also splits at characters that a line may contain.
        lines = content.decode().split("\n")[:-1]
        if hash_bytes(content) != manifest["content_sha256"] or len(lines) != manifest["rows"]:
            raise DamagedObject(f"the object {lines_key} does not hold the rows that the manifest {key} names")
        yield lines_key, lines


def _store(rows: sqlite3.Connection, lines: list[str], eraser: Eraser) -> None:
    for line in lines:
        eraser.look_at(line)
        seq = json.loads(line)["seq"]
        known = rows.execute("select line from lines where seq = ?", (seq,)).fetchone()
        if known is None:
            rows.execute("insert into lines values (?, ?)", (seq, line))
        elif known[0] != line:
            raise DamagedObject(f"two objects hold different rows with the number {seq}")
