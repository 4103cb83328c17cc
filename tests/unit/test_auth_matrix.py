"""The matrix of callers is complete: every function, every kind of caller and every method."""

from typing import get_args

import main
from shared.http.webhook_auth import Kind
from tests.http.auth_matrix import CALLERS, METHODS, read_table


def test_the_matrix_has_every_function():
    """A new function needs its rows here first. The pages of the dashboard are in test_admin_access.py."""
    functions = set(main._MODULES) - {"admin"}
    for table in (METHODS, CALLERS):
        for name, row in read_table(table).items():
            assert row.keys() - {"kind"} == functions, name
            assert all(row.values()), f"a gap in the row {name!r}"


def test_the_matrix_has_every_kind_of_caller():
    """Each kind has a row, and a caller without a kind always gets 401."""
    rows = read_table(CALLERS).values()
    assert {row["kind"] for row in rows} - {"-"} == set(get_args(Kind))
    statuses = {answer for row in rows if row["kind"] == "-" for name, answer in row.items() if name != "kind"}
    assert statuses == {"401"}


def test_the_matrix_has_every_method():
    """The methods of RFC 9110 and 5789 without CONNECT, which is for proxies, and one that does not exist."""
    registered = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
    assert read_table(METHODS).keys() == registered | {"BREW"}
