"""A JSON list, read an entry at a time: memory grows with the longest entry, not with the file.

Publishers write data sets of votes as one list of objects, of gigabytes. The standard library's decoder reads what is
in memory; so text is added to a window until it holds a whole entry, and what was read leaves it.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from json.decoder import WHITESPACE
from typing import IO, Any

CHUNK = 1 << 18
"""Bytes that are added to the window at a time."""


class ListError(ValueError):
    """What is wrong with a list; `entry`: the number of the entry at fault from 1 on, None for the list as a whole."""

    def __init__(self, fault: str, entry: int | None = None):
        super().__init__(fault)
        self.entry = entry


def starts_list(head: bytes) -> bool:
    """Whether these first bytes of a file begin a JSON list."""
    return head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["


def entries(
    raw: IO[bytes], longest: int, pairs: Callable[[list[tuple[str, Any]]], Any] = dict
) -> Iterator[tuple[int, Any]]:
    """The entries of a list of objects in UTF-8, numbered from 1; `pairs` makes an object of its keys and values.

    Raises ListError for what is no such list, once it gets there: an entry that is no object or has more than `longest`
    characters, a list that ends too early, text after it; UnicodeDecodeError; and whatever `pairs` raises.
    """
    window = _Window(raw, longest)
    decode = json.JSONDecoder(object_pairs_hook=pairs).raw_decode
    if window.next_sign() != "[":
        raise ListError("it is no list")
    number = 0
    window.place += 1
    while (sign := window.next_sign()) != "]" or number:
        number += 1
        if sign != "{":
            raise _no_object(window, number, sign)
        yield number, _object(window, decode, number)
        after = window.next_sign()
        window.place += 1
        if after == "]":
            break
        if after != ",":
            raise (
                ListError(f"its list is cut off after {number:,} entries")
                if not after
                else ListError(f"is followed by {after!r}, neither a comma nor the list's end", number)
            )
    else:
        window.place += 1
    if window.next_sign():
        raise ListError(f"more text follows its list of {number:,} entries")


def _object(window: _Window, decode: Callable[[str, int], tuple[Any, int]], number: int) -> Any:
    """The object that starts where the window stands, which then stands behind it."""
    while True:
        try:
            found, window.place = decode(window.text, window.place)
            return found
        except json.JSONDecodeError as error:
            if window.held() > window.longest:
                raise ListError(
                    f"has more than {window.longest:,} characters, or is no JSON ({error.msg})", number
                ) from error
            if not window.grow():
                raise ListError(f"is cut off, or no JSON ({error.msg})", number) from error
        except RecursionError as error:
            raise ListError("is nested too deeply", number) from error


def _no_object(window: _Window, number: int, sign: str) -> ListError:
    if not sign:
        return ListError(f"its list is cut off after {number - 1:,} entries")
    seen = window.text[window.place : window.place + 40].partition("\n")[0].rstrip(",] ")
    return ListError(f"is {seen or sign!r}, no object", number)


class _Window:
    """The part of a text that is in memory; `place`: what comes before it was read."""

    def __init__(self, raw: IO[bytes], longest: int):
        self.raw, self.longest = raw, longest
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.place = "", 0

    def held(self) -> int:
        """Characters that were not read so far."""
        return len(self.text) - self.place

    def grow(self) -> bool:
        """Add the next bytes; False where there are no more."""
        new = self.raw.read(CHUNK)
        self.text, self.place = self.text[self.place :] + self.decoder.decode(new, final=not new), 0
        return bool(new)

    def next_sign(self) -> str:
        """The next character that is no white space, at `place`; "" at the end."""
        while True:
            self.place = WHITESPACE.match(self.text, self.place).end()  # type: ignore[union-attr]
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.grow():
                return self.text[self.place : self.place + 1]
