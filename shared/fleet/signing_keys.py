"""Which key signs the tokens of machines, and which keys the project accepts.

Each sweep asks, and a release asks before it blames an image.
"""

import logging
from typing import TYPE_CHECKING

from shared.domain.errors import TransientError

if TYPE_CHECKING:
    from shared.reconcile.worker import Worker

_log = logging.getLogger("hangar.sweep")


def record_signing_keys(worker: "Worker") -> None:
    """Ask the project and tell the database. Without an answer the caller continues: the database knows the last answer's age."""
    if worker.read_signing_keys is None:
        return
    try:
        keys = worker.read_signing_keys()
    except TransientError as error:
        _log.warning("%s. The next sweep asks again", error)
        return
    worker.database.record_signing_keys(keys, worker.inputs.installation_id)
