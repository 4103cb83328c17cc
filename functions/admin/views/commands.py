"""Commands and fields in sentences of the database, replaced by the dashboard's pages, buttons and labels. Pure."""

import re

_COMMAND = re.compile(r"`([^`]*)`")
# How a command begins, and what the dashboard has in its place. The first that fits is used.
_PLACES = (
    ("hangar brake --release", "Release brake on the Controls page"),
    ("hangar brake", "the Controls page"),
    ("hangar orphans", "the orphans on the Controls page"),
    ("hangar retry", "Retry now on the user's page"),
    ("hangar explain", "the user's page"),
    ("hangar logs", "the logs on the user's page"),
    ("hangar events", "the Events page"),
    ("hangar status", "the Failures page"),
    ("hangar pause", "Pause Hangar on the Controls page"),
    ("hangar resume", "Resume on the Controls page"),
    ("hangar sweep", "Sweep now on the Controls page"),
    ("hangar release status", "the release's page"),
)
# Fields of a release, and what the form calls them.
_LABELS = {"cpu_kind": "CPU kind", "cpu_count": "number of vCPU", "memory_mb": "memory in MB"}
_FIELD = re.compile(rf"\b({'|'.join(_LABELS)})\b")
_RELEASE_STEP = re.compile(r"hangar release (\w+) \d+")


def replace_commands(text: str) -> str:
    """The text with the dashboard's pages and buttons in place of the commands that it names, and without backticks."""
    text = re.sub(r"\b([Rr])un (?=`hangar)", lambda found: "Use " if found[1] == "R" else "use ", text)
    return _COMMAND.sub(lambda found: _name_place(found[1]), text).replace("`", "")


def name_fields(text: str) -> str:
    """The text with the labels of the form in place of the fields that it names."""
    return _FIELD.sub(lambda found: _LABELS[found[1]], text)


def _name_place(command: str) -> str:
    if command.startswith("hangar retry") and "--new-name" in command:
        return "Take a new name on the user's page"
    for begin, place in _PLACES:
        if command.startswith(begin):
            return place
    if step := _RELEASE_STEP.fullmatch(command):
        return f"{step[1].capitalize()} on the release's page"
    return command
