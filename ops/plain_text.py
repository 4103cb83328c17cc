"""Text from other people as it may reach a terminal."""

import re

from shared.domain.plain_text import one_line

__all__ = ["one_line", "shorten_words"]

_LONG_WORD = re.compile(r"\S{301,}")
_KEPT_CHARS = 60


def shorten_words(text: str) -> str:
    """The text with every word of more than 300 characters cut, so that a pasted file does not hide the sentence around it."""
    return _LONG_WORD.sub(lambda word: f"{word[0][:_KEPT_CHARS]}… ({len(word[0])} characters)", text)
