"""The migrations expose exactly what `public_interface.txt` lists.

The list was made from the migrations as they were before they were sorted by subject. Change it on purpose only: regenerate it
with the command in `public_interface.py`, and say in CHANGELOG.md and docs/database.md what changed for outsiders.
"""

from pathlib import Path

from tests.postgres.public_interface import dump

EXPECTED = Path(__file__).with_name("public_interface.txt")


def test_the_public_interface_is_the_one_on_record(installed):
    """Tables, columns, constraints, indexes, triggers, procedures, rights, policies, jobs and seeds."""
    found = dump(installed.connect(installed.url))
    assert found.splitlines() == EXPECTED.read_text(encoding="utf-8").splitlines()
