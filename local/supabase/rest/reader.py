"""A tokenizer of one query parameter: PostgREST's lexical rules of names, values and lists."""

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from local.supabase.rest.errors import RestError, unparsable

T = TypeVar("T")

_NAME = re.compile(r"[\w $]+(?:-(?!>)[\w $]+)*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_WORD = re.compile(r"[a-z]+")
_JSON_INDEX = re.compile(r"-?[0-9]+(?=->|::|[.,)]|$)")
_JSON_KEY = re.compile(r"[^(\-:.,>)]+(?:-(?!>)[^(\-:.,>)]+)*")
_ARRAY = re.compile(r"\{[^{}]*\}")
_BARE = re.compile(r"[^,)]*")


class Reader:
    """Reads `text` from left to right; every failure is a RestError PGRST100 that names `what`."""

    def __init__(self, text: str, what: str) -> None:
        self._text = text
        self._what = what
        self._at = 0

    def at(self, token: str) -> bool:
        return self._text.startswith(token, self._at)

    def take(self, token: str) -> bool:
        """Skip `token` if it comes next."""
        if not self.at(token):
            return False
        self._at += len(token)
        return True

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise self.failed(f'expecting "{token}"')

    def expect_end(self) -> None:
        if self._at != len(self._text):
            raise self.failed("expecting end of input")

    def skip_spaces(self) -> None:
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1

    def comma_separated(self, read: Callable[[], T]) -> Iterator[T]:
        yield read()
        while self.take(","):
            yield read()

    def read_name(self) -> str:
        """A column name: quoted, or letters, digits, `_`, `$`, blanks and single dashes."""
        self.skip_spaces()
        quoted = self._match(_QUOTED)
        name = _unquote(quoted) if quoted is not None else (self._match(_NAME) or "").strip()
        self.skip_spaces()
        if not name:
            raise self.failed("expecting field name (* or [a..z0..9_$])")
        return name

    def read_word(self) -> str:
        return self._match(_WORD) or ""

    def read_json_key(self) -> str | int:
        index = self._match(_JSON_INDEX)
        if index is not None:
            return int(index)
        quoted = self._match(_QUOTED)
        key = _unquote(quoted) if quoted is not None else (self._match(_JSON_KEY) or "").strip()
        if not key:
            raise self.failed("expecting any non reserved character different from: .,>()")
        return key

    def read_rest(self) -> str:
        rest, self._at = self._text[self._at :], len(self._text)
        return rest

    def read_value(self) -> str:
        """A value inside a logic group: quoted, an array literal, or up to the next comma or parenthesis."""
        quoted = self._match_before_separator(_QUOTED)
        if quoted is not None:
            return _unquote(quoted)
        return self._match_before_separator(_ARRAY) or self._match(_BARE) or ""

    def read_list_element(self) -> str:
        quoted = self._match_before_separator(_QUOTED)
        return _unquote(quoted) if quoted is not None else (self._match(_BARE) or "")

    def failed(self, why: str) -> RestError:
        return unparsable(self._what, self._text, why)

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found.group()

    def _match_before_separator(self, pattern: re.Pattern[str]) -> str | None:
        start = self._at
        found = self._match(pattern)
        if found is not None and self._text[self._at : self._at + 1] in ("", ",", ")"):
            return found
        self._at = start
        return None


def _unquote(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted[1:-1], flags=re.DOTALL)
