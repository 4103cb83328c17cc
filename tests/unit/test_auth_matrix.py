"""The matrix of callers names every function, every kind of caller and every method."""

from typing import get_args

import main
from shared.http.webhook_auth import Kind
from tests.http.auth_matrix import CALLERS, METHODS, read_table


def test_the_matrix_knows_every_function():
    """A new function must say who may call it. For the dashboard's pages test_admin_access.py does."""
    functions = set(main._MODULES) - {"admin"}
    for table in (METHODS, CALLERS):
        for name, row in read_table(table).items():
            assert row.keys() - {"kind"} == functions, name
            assert all(row.values()), f"a gap in the row {name!r}"


def test_the_matrix_knows_every_kind_of_caller():
    """Each kind has a caller, and a caller without a kind is refused."""
    rows = read_table(CALLERS).values()
    assert {row["kind"] for row in rows} - {"-"} == set(get_args(Kind))
    refused = {answer for row in rows if row["kind"] == "-" for name, answer in row.items() if name != "kind"}
    assert refused == {"401"}


def test_the_matrix_knows_every_method():
    """The methods of RFC 9110 and 5789, except CONNECT, which is for proxies, and one that does not exist."""
    registered = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
    assert read_table(METHODS).keys() == registered | {"BREW"}
