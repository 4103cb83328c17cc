"""Filters in addresses. What a page does not know is refused by its name, with what is allowed.

A list that silently shows more than the address asks for would mislead an operator.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import flask

from functions.admin.request_context import clean, read_arg, show

_MOST_SHOWN_CHARS = 60
_MOST_CHOICES = 40


@dataclass(frozen=True)
class Filter:
    """The values of an address that the page knows, and what is wrong with the others, in sentences."""

    values: dict[str, str]
    problems: tuple[str, ...] = ()

    def without(self, *names: str) -> dict[str, str]:
        return {name: text for name, text in self.values.items() if name not in names}


def read_filter(
    choices: Mapping[str, Collection[str]], free: Mapping[str, int] | None = None, others: Collection[str] = ()
) -> Filter:
    """Read the filters from the address.

    `choices`: the allowed words of each. `free`: filters of free text, with the most characters. `others`: what the caller reads.
    """
    free = free or {}
    values: dict[str, str] = {}
    problems: list[str] = []
    for name in flask.request.args:
        if name in others:
            continue
        text, given = read_arg(name), {clean(each) for each in flask.request.args.getlist(name)} - {""}
        if name not in choices and name not in free:
            problems.append(_refuse_name(name, [*choices, *free]))
        elif len(given) > 1:
            problems.append(f"The filter {name} is given more than once: {_list_words(sorted(given))}.")
        elif not text:
            continue
        elif name in free:
            values[name] = text[: free[name]]
        elif text in choices[name]:
            values[name] = text
        else:
            problems.append(_refuse_word(name, text, list(choices[name])))
    return Filter(values, tuple(problems))


def refuse_filters(*known: str) -> flask.Response | None:
    """400 for an address with a filter that the page would ignore, because it reads only `known`. None for other addresses."""
    found = read_filter({}, others=known)
    return show("error.html", 400, problem=found.problems[0]) if found.problems else None


def quote(text: str) -> str:
    """What somebody typed, in quotation marks, shortened."""
    return f"“{text[:_MOST_SHOWN_CHARS]}{'…' if len(text) > _MOST_SHOWN_CHARS else ''}”"


def _refuse_name(name: str, names: Sequence[str]) -> str:
    if not names:
        return f"This page has no filter {quote(name)}, and would ignore it."
    return f"There is no filter {quote(name)}. The filters are {_list_words(names)}."


def _refuse_word(name: str, text: str, words: Sequence[str]) -> str:
    if not words:
        return f"There is no {name} {quote(text)}: no app has a {name} yet."
    return f"There is no {name} {quote(text)}. Choose one of {_list_words(words)}."


def _list_words(words: Sequence[str]) -> str:
    more = len(words) - _MOST_CHOICES
    return ", ".join([*words[:_MOST_CHOICES], *([f"and {more} more"] if more > 0 else [])])
