"""The trace of a small world, as lines that help a person to find out why a seed broke a promise."""

from dataclasses import dataclass, field

from tests.support.clock import START

SHOWN_PROCEDURES = {
    "fly_sweep_claim",
    "fly_sweep_finish",
    "fly_record_orphans",
    "fly_sync_entitlements",
    "fly_end_outage",
    "fly_raise_alert",
}
_LEFT_OUT = {"token", "settings", "now", "started_at", "id"}


@dataclass
class Trace:
    """What happened, in order: virtual second, actor, text."""

    lines: list[tuple[float, str, str]] = field(default_factory=list)

    def show(self, names: dict[str, str]) -> list[str]:
        """Readable lines; `names` gives a readable name for each id."""
        shown = []
        for at, who, what in self.lines:
            text = what
            for id_, name in names.items():
                text = text.replace(id_, name)
            shown.append(f"{_show_time(at - START)}  {who:<10}  {text}")
        return shown


def _show_time(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:>3d}:{minutes:02d}:{rest:06.3f}"


def show_row(row) -> str:
    if not row:
        return ""
    return f" {row['fly_app_name']} {row['desired_state']} {row['status']} generation {row['generation']}"


def show_answer(answer) -> str:
    kept = {key: answer[key] for key in sorted(answer) if key not in _LEFT_OUT and answer[key]}
    return str(kept)[:160]


def show_save(app, args, intent, outcomes, answer) -> str:
    parts = [f"fly_save {app}"]
    parts += [f"outcome {each['metadata'].get('action')} {each['status']}" for each in outcomes]
    if args["p_patch"]:
        parts.append(str(args["p_patch"])[:160])
    if intent:
        parts.append(f"intent {intent['metadata']['action']} ({intent['metadata']['purpose']})")
    if answer is None:
        parts.append("-> lease lost")
    else:
        row = answer["row"]
        moved = " generation moved" if answer["generation_moved"] else ""
        refused = f" refused: {answer['refused']}" if answer["refused"] else ""
        parts.append(f"-> {row['desired_state']} {row['status']}{moved}{refused}")
    return "; ".join(parts)
