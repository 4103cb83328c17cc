"""The points before and after every call that leaves a process, where a test may kill it."""

from dataclasses import dataclass, field


class Killed(BaseException):
    """The process died here. It is a BaseException, so that no handler of the product catches it."""


@dataclass
class Boundaries:
    """Counts the points that one process passes, and kills it at the point that the test names."""

    passed: int = 0
    die_at: int | None = None
    trace: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    die_after: tuple[str, str] | None = None

    def die_after_effect(self, method: str, path: str) -> None:
        """Die after Fly has carried out this call and before its response is read."""
        if self.die_after == (method, name_path(path)):
            self.die_after = None
            raise Killed(path)

    def cross(self, where: str) -> None:
        """Pass one point, or die there."""
        self.trace.append(where)
        self.passed += 1
        if self.passed - 1 == self.die_at:
            raise Killed(where)


def name_path(path: str) -> str:
    """The path with `*` for names and ids, as in the rules for faults."""
    parts = path.split("/")
    return "/".join("*" if number in (3, 5) and parts[2] == "apps" else part for number, part in enumerate(parts))
