"""Ends a listing that would not end: every list loop asks this before it reads the next page. Pure."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from shared.domain.errors import TransientError

# A page may be short or empty although more follow (Fly's listings), so the bound is far above what a full fleet needs:
# 100,000 apps are 100 full pages of machines.
MOST_PAGES = 2000


@dataclass
class Paging:
    """The cursors of one listing, called `what` in messages. `advance` raises TransientError with the code "cursor"."""

    what: str
    most_pages: int = MOST_PAGES
    _seen: set[Hashable] = field(default_factory=set)

    def advance(self, cursor: Hashable) -> None:
        """Note the cursor that is read next. Raises if it was read before, or the listing is longer than any real one."""
        if cursor in self._seen:
            raise TransientError(f"{self.what}: the listing repeats a page that was read before", code="cursor")
        self._seen.add(cursor)
        if len(self._seen) > self.most_pages:
            message = f"{self.what}: the listing does not end within {self.most_pages} pages"
            raise TransientError(message, code="cursor")
