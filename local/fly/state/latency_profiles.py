"""How long calls and changes take, and how unkind the simulator is: values, no behaviour.

Fly promises no latency. TYPICAL has ranges around the times that production users of the API reported (machine boots of
about 6 s, up to 100 s on a cold host; seconds of listing lag).
"""

from dataclasses import dataclass, fields, replace

Span = tuple[float, float]
"""Least and most seconds; a draw is uniform between them."""

ZERO: Span = (0.0, 0.0)


@dataclass(frozen=True)
class Timing:
    """How long calls take (`…_call_s`), and how long state changes take after the response."""

    app_create_call_s: Span = ZERO
    machine_create_call_s: Span = ZERO
    org_list_call_s: Span = ZERO
    other_call_s: Span = ZERO
    boot_s: Span = ZERO
    cold_boot_s: Span = ZERO
    cold_share: float = 0.0
    stop_s: Span = ZERO
    destroy_s: Span = ZERO
    settle_after_stop_s: Span = ZERO
    """How long a start right after `stopped` is refused with "machine still active"."""
    app_delete_s: Span = ZERO
    name_held_s: Span = ZERO
    """How long the name of a deleted app stays taken after the app is gone."""
    first_check_s: Span = ZERO
    restart_s: Span = (0.1, 0.1)
    """Pause before a restart by policy; never zero, or a crash loop would use all CPU."""
    destroyed_visible_s: float = 5.0

    def scaled(self, factor: float) -> "Timing":
        """A copy with every span multiplied."""
        spans: dict[str, Span] = {
            f.name: (low * factor, high * factor)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), tuple)
            for low, high in (value,)
        }
        return replace(self, **spans)  # type: ignore[arg-type]  # mypy cannot see that these names are the span fields


INSTANT = Timing()
TYPICAL = Timing(
    app_create_call_s=(0.15, 0.6),
    machine_create_call_s=(0.4, 3.0),
    org_list_call_s=(0.2, 0.8),
    other_call_s=(0.03, 0.2),
    boot_s=(2.0, 8.0),
    cold_boot_s=(60.0, 120.0),
    cold_share=0.01,
    stop_s=(1.0, 6.0),
    destroy_s=(1.0, 5.0),
    settle_after_stop_s=(0.4, 2.0),
    app_delete_s=(1.0, 5.0),
    name_held_s=(10.0, 60.0),
    first_check_s=(1.0, 3.0),
    restart_s=(1.0, 2.0),
    destroyed_visible_s=60.0,
)
PROFILES = {"instant": INSTANT, "typical": TYPICAL}


@dataclass(frozen=True)
class Unkindness:
    """Failures that Fly documents or its callers report, drawn from the seed; shares are chances per call or page."""

    list_lag_s: Span = (0.0, 5.0)
    short_pages: float = 0.3
    empty_pages: float = 0.05
    error_regions: float = 0.02
    lost_answers: float = 0.02
    """Share of writes whose effect happens but whose response is lost: a reset, or 504 from the proxy."""
    unordered: bool = True
    fresh_machine_lag_s: Span = ZERO
    """How long a new machine answers 404 to direct calls (other nodes of Fly do not know it yet). Off unless set."""


KIND = Unkindness(ZERO, 0.0, 0.0, 0.0, 0.0, unordered=False)
UNKIND = Unkindness()

UNKIND_INSTANT_SCALE = 0.05
"""An unkind instant simulator keeps TYPICAL's order of events in a twentieth of its times; calls answer at once."""


def timing_for(profile: str, *, unkind: bool) -> Timing:
    """The times of a profile; KeyError for an unknown name."""
    timing = PROFILES[profile]
    if not unkind or timing is not INSTANT:
        return timing
    return replace(
        TYPICAL.scaled(UNKIND_INSTANT_SCALE),
        app_create_call_s=ZERO,
        machine_create_call_s=ZERO,
        org_list_call_s=ZERO,
        other_call_s=ZERO,
    )
