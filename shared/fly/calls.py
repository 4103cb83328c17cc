"""What the calls of `FlyClient` have in common, which are one class for each subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

if TYPE_CHECKING:
    from shared.fly.messages import Request, Response
    from shared.fly.retry import CallOptions

__all__ = ["FlyCalls"]


class FlyCalls:
    """Calls that a client sends in its own way."""

    def _send(self, call: Request, *, settles: bool = False, **options: Unpack[CallOptions]) -> Response:
        """Fly's answer; `settles` repeats while Fly says that the machine is not ready yet. Raises HangarError."""
        raise NotImplementedError  # FlyClient says how it sends
