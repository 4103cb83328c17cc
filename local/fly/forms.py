"""The forms of fields in JSON bodies. A form is a test and the words for the message when the test fails."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any


@dataclass(frozen=True)
class Form:
    """One form of a value. `words` follow "must be" in the message."""

    words: str
    fits: Callable[[Any], bool]

    def or_null(self) -> "Form":
        """The same form, or null."""
        return Form(f"{self.words}, or null", lambda value: value is None or self.fits(value))


def number(low: float, high: float, words: str) -> Form:
    """A number within bounds."""
    return Form(words, lambda value: type(value) in (int, float) and low <= value <= high)


def integer(low: float = -inf, high: float = inf, words: str = "an integer") -> Form:
    """A whole number within bounds. JSON's true and false are not numbers."""
    return Form(words, lambda value: type(value) is int and low <= value <= high)


def one_of(values: Iterable[str], *, or_empty: bool = False) -> Form:
    """One of these words."""
    known = tuple(values)
    allowed = ("", *known) if or_empty else known
    return Form(f"one of {', '.join(known)}", lambda value: is_text(value) and value in allowed)


def list_of(fits: Callable[[Any], bool], what: str) -> Form:
    """A list whose items all fit."""
    return Form(f"a list of {what}", lambda value: isinstance(value, list) and all(map(fits, value)))


def map_of(fits: Callable[[Any], bool], what: str) -> Form:
    """An object whose values all fit."""
    return Form(f"an object of {what}", lambda value: isinstance(value, dict) and all(map(fits, value.values())))


def is_text(value: Any) -> bool:
    """Whether it is a string."""
    return isinstance(value, str)


ANYTHING = Form("anything", lambda _: True)
FLAG = Form("true or false", lambda value: isinstance(value, bool))
TEXT = Form("a string", is_text)


def read_fields(raw: Any, forms: Mapping[str, Form], required: Iterable[str] = ()) -> dict[str, Any]:
    """A JSON object whose fields have these forms; ValueError names an unknown, missing or wrong field."""
    if not isinstance(raw, dict):
        raise ValueError(f"expected an object with {', '.join(forms)}")  # noqa: TRY004  the caller's JSON is wrong
    if unknown := set(raw) - set(forms):
        raise ValueError(f"unknown field {min(unknown)!r}; known are {', '.join(forms)}")
    for name in (*required, *raw):
        if not forms[name].fits(raw.get(name)):
            raise ValueError(f"{name} must be {forms[name].words}")
    return raw
