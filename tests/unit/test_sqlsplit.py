"""Statements end at the same semicolons as in Postgres."""

import pytest

from tests.support.sqlsplit import split_statements


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        ("select ';'; select 'it''s;'", ["select ';'", "select 'it''s;'"]),
        (r"select E'\';'; select 2", [r"select E'\';'", "select 2"]),
        ('select 1 as "a;b"; select 2', ['select 1 as "a;b"', "select 2"]),
        ("do $$ begin; end $$; select 2", ["do $$ begin; end $$", "select 2"]),
        ("do $a$ $$;$$ ; $a$; select 2", ["do $a$ $$;$$ ; $a$", "select 2"]),
        ("select a$1;b$1;", ["select a$1", "b$1"]),
        ("-- one; two\nselect 1;\n-- the end;", ["-- one; two\nselect 1"]),
        ("/* ; ' */ select 1;;", ["/* ; ' */ select 1"]),
        ("select 'open", ["select 'open"]),
        ("", []),
    ],
)
def test_split(sql, statements):
    assert split_statements(sql) == statements
