"""Text from other people as it may reach a terminal."""

from shared.domain.plain_text import one_line

__all__ = ["one_line"]
