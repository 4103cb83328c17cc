"""Splits a SQL file into statements, as the Supabase CLI does for its history table."""

import re

# Text in which a semicolon does not end a statement. $tag$ behind a letter or digit is part of a name.
_OPAQUE = re.compile(
    r"--[^\n]*"
    r"|/\*.*?\*/"
    r"|\b[eE]'(?:[^'\\]|\\.|'')*'"
    r"|'(?:[^']|'')*'"
    r'|"(?:[^"]|"")*"'
    r"|(?<![\w$])(\$(?:[A-Za-z_]\w*)?\$).*?\1",
    re.DOTALL,
)


def split_statements(sql: str) -> list[str]:
    """The statements in order, without semicolons and without parts that hold only comments.

    Nested comments and BEGIN ATOMIC … END bodies are not supported.
    """
    parts: list[str] = []
    begin = at = 0
    while at < len(sql):
        opaque = _OPAQUE.search(sql, at)
        end = sql.find(";", at, opaque.start() if opaque else len(sql))
        if end >= 0:
            parts.append(sql[begin:end])
            begin = at = end + 1
        else:
            at = opaque.end() if opaque else len(sql)
    parts.append(sql[begin:])
    return [part.strip() for part in parts if _has_code(part)]


def _has_code(part: str) -> bool:
    without_comments = _OPAQUE.sub(lambda found: "" if found[0].startswith(("--", "/*")) else found[0], part)
    return bool(without_comments.strip())
