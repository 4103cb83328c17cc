"""Each sweep records which key signs the tokens of machines, and which keys the project accepts."""

import logging
from typing import TYPE_CHECKING

from shared.domain.errors import TransientError

if TYPE_CHECKING:
    from shared.reconcile.worker import Worker

_log = logging.getLogger("hangar.sweep")


def record_signing_keys(worker: "Worker") -> None:
    """Ask the project and tell the database. Without an answer the sweep continues: the database knows the last answer's age."""
    if worker.read_signing_keys is None:
        return
    try:
        keys = worker.read_signing_keys()
    except TransientError as error:
        _log.warning("%s. The next sweep tries again", error)
        return
    worker.database.record_signing_keys(keys)
