"""Text from other people (e-mails, Fly's messages, logs) as it may be shown: on one line, without control characters."""

import unicodedata

# What moves the cursor, changes colours or sets a title (C0, DEL, C1), what ends a line (U+2028, U+2029), and what reorders the
# text around it (the bidirectional controls, format characters like a zero-width space).
_UNSEEN = ("Cc", "Cf", "Zl", "Zp", "Cs")
_SPACES = str.maketrans(dict.fromkeys("\t\n\r\x0b\x0c\x85\u2028\u2029", " "))
# A zero-width joiner is part of emoji and of several scripts, and it moves nothing.
_HARMLESS = "\u200c\u200d"


def one_line(text: str) -> str:
    """The text on one line: tabs and line ends become spaces, other control characters are shown as an escape like `x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_show(character) for character in text.translate(_SPACES))


def _show(character: str) -> str:
    if character in _HARMLESS or unicodedata.category(character) not in _UNSEEN:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
