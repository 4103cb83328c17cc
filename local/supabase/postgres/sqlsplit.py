"""Cuts a SQL file into its statements, as the Supabase CLI does for its history table."""

import re

# What may hold a semicolon that ends nothing. A tag of $tag$ must not follow a letter or digit (it would be a name).
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
    """The statements in order, without their semicolons; pieces that hold only comments are left out.

    Nested comments and bodies in BEGIN ATOMIC … END form are not understood.
    """
    pieces: list[str] = []
    begin = at = 0
    while at < len(sql):
        opaque = _OPAQUE.search(sql, at)
        end = sql.find(";", at, opaque.start() if opaque else len(sql))
        if end >= 0:
            pieces.append(sql[begin:end])
            begin = at = end + 1
        else:
            at = opaque.end() if opaque else len(sql)
    pieces.append(sql[begin:])
    return [piece.strip() for piece in pieces if _has_code(piece)]


def _has_code(piece: str) -> bool:
    without_comments = _OPAQUE.sub(lambda found: "" if found[0].startswith(("--", "/*")) else found[0], piece)
    return bool(without_comments.strip())
