"""JSON that comes back from a ``jsonb`` column equal to what went in, or is refused.

The only place that knows orjson. orjson is fast and silent where it cannot be exact: it writes NaN
as ``null`` and reads a 20-digit integer as a float; and ``jsonb`` keeps numbers as decimals, in
which ``1e25`` is an integer. So the fast way is taken where the result proves itself, and a slower
one, which also gives each error its path, where it does not.
"""

from __future__ import annotations

import dataclasses
import json
import marshal
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from math import isfinite, log2
from typing import Any
from uuid import UUID

import orjson

from hephaestus_pg.codec.advice import advice
from hephaestus_pg.errors import SerializationError

MAX_DEPTH = 254
"""Levels of nesting in a state, read or written: where orjson ends when it writes."""

MAX_INTEGER_DIGITS = 131_072
"""Digits of an integer: where PostgreSQL's ``numeric``, and so ``jsonb``, ends."""

_MAX_INTEGER_BITS = int(MAX_INTEGER_DIGITS * log2(10)) + 1
_INT64 = range(-(2**63), 2**64)  # what orjson writes and reads exactly
_SHORT_INTEGER = 640
_POSITIONAL = 1e16  # from here on a float is written with an exponent

# Every digit as 0 shows the shape of the numbers in a text to a plain substring search, several
# times faster than a regular expression.
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
_LONG_SAMPLE = b"0" * (19 // 4)

# How this version of orjson begins an exponent above zero, 1e1 or 1e+1: the shape and its sign.
_EXPONENT = orjson.dumps(1e16)[:-1].translate(_DIGITS_AS_ZERO)
_EXPONENT_SIGN = _EXPONENT[-2]
_BACKSLASH = ord("\\")

_NATIVE = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME
_NATIVE |= orjson.OPT_PASSTHROUGH_DATACLASS

_NEGATIVE_EXPONENT = re.compile(rb"\d(\.\d+)?e-(\d+)")
_MOST_ZEROS = 324  # of a float's smallest exponent, -324
MOST_GROWTH = 47
"""Times its size that a text may take as the server prints it, with 5e-324 as 0.00…5."""

_STRING = re.compile(rb'"[^"]*"')
_MAPS_AS_LISTS = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))


def dumps(value: dict[str, Any], root: str = "state") -> tuple[bytes, Any, bool]:
    """``value`` as JSON text, what reading that text gives, and whether the two are the same.

    What reading gives is what comes back from the table: ``dict``, ``list``, ``str``, numbers.

    Raises:
        SerializationError: Something in it cannot be stored exactly; it names the path, which is
            ``root`` where that is the value itself.
    """
    try:
        # orjson asks an enum for its value, and ends the process where that raises or is no end
        # (seen in 3.13); marshal refuses whatever is not of a plain type: 2 of the 7 µs of 1 KB.
        marshal.dumps(value)
        text = orjson.dumps(value, option=_NATIVE)
        stored = orjson.loads(text)
        # Beside what orjson itself reads unequal, jsonb does so with U+0000 and with a large float.
        # One byte is found many times faster than several.
        if (
            stored == value
            and not (_BACKSLASH in text and b"\\u0000" in text)
            and not (_EXPONENT_SIGN in text and _EXPONENT in text.translate(_DIGITS_AS_ZERO))
        ):
            return text, stored, True
    except Exception:  # noqa: BLE001, S110 - big integers, subclasses, sets, cycles, surrogates …
        pass
    return _dumps_exactly(value, root)


def loads(text: str) -> Any:
    """The value of a ``jsonb`` column's text.

    Raises:
        ValueError: It is nested too deeply, or a number in it is beyond a float.
    """
    raw = text.encode()
    # Few states hold so many maps and lists that their depth matters; deleting finds them by
    # memchr, which count() does not.
    flat = raw.replace(b"{", b"").replace(b"[", b"")
    if len(raw) - len(flat) > MAX_DEPTH and _too_deep(raw):
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    # Of a long number, a sample of every fourth byte holds four digits on end; a timestamp's don't.
    if _LONG_SAMPLE in raw[::4].translate(_DIGITS_AS_ZERO) and _LONG_NUMBER in raw.translate(
        _DIGITS_AS_ZERO
    ):
        try:
            return json.loads(text, parse_int=_integer, parse_float=_float)
        except RecursionError:
            raise ValueError("it is nested more deeply than there is room on the stack") from None
    return orjson.loads(raw)


def printed_size(text: bytes, limit: int) -> int:
    """The bytes of ``text`` as the server will print it; more, if that is within the ``limit`` too.

    It prints a space after each comma and colon, and all digits of 5e-324, instead of 6 bytes 326.
    """
    size = len(text)
    # Each separator stands behind a byte of its own. Texts may hold e- too.
    bound = size + size // 2 + _MOST_ZEROS * text.count(b"e-")
    if bound <= limit:
        return bound
    outside = _STRING.sub(b'""', text.replace(b"\\\\", b"").replace(b'\\"', b""))
    size += outside.count(b",") + outside.count(b":")
    for fraction, exponent in _NEGATIVE_EXPONENT.findall(outside):
        size += int(exponent) - 1 - len(exponent) - bool(fraction)
    return size


def _dumps_exactly(value: dict[str, Any], root: str) -> tuple[bytes, Any, bool]:
    text = orjson.dumps(_plain(value, root, ()))
    stored = loads(text.decode())
    try:
        marshal.dumps(value)  # which refuses an equal value of another type, as an OrderedDict
        same = bool(stored == value)
    except Exception:  # noqa: BLE001 - of a type or a comparison of the value's own
        same = False
    return text, stored, same


def _too_deep(text: bytes) -> bool:
    structure = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Most strings hold no brackets. Where one ends as the next begins, they become one.
    structure = structure.translate(_MAPS_AS_LISTS, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in structure:
        structure = _STRING.sub(b"", structure)
    for _ in range(MAX_DEPTH):
        structure = structure.replace(b"[]", b"")  # the innermost of each
        if not structure:
            return False
    return True


def _integer(digits: str) -> int:
    # int() refuses a text over sys.get_int_max_str_digits(), 640 at the least; a Decimal does not.
    return int(digits) if len(digits) < _SHORT_INTEGER else int(Decimal(digits))


def _float(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError("a number in it is beyond a float")
    return number


Path = tuple[Any, int | str] | str
"""Where a value stands: the path of what holds it, and its place in there; at the root, its name.

Written out if asked."""


def _plain(value: Any, path: Path, parents: tuple[int, ...]) -> Any:  # noqa: C901, PLR0912 - one case a type
    """``value`` in plain types, a fragment for each number that orjson would not write exactly.

    ``parents`` are the ids of the containers around it. Whatever a value is asked, even its class,
    it may answer by code of its own, which may raise anything.
    """
    try:
        kind = type(value)  # nearly all are of these themselves, and the questions below are many
        if kind is str:
            return _text(value, path)
        if kind is int:
            return _written_integer(value, path)
        if kind is dict:
            return _mapping(list(value.items()), path, _deeper(value, path, parents))
        match value:
            case None | bool():
                return value
            case Enum():
                return _plain(value.value, path, parents)
            case str():
                return _text(str.__str__(value), path)
            case int():
                return _written_integer(int.__index__(value), path)
            case float():
                return _written_float(float.__float__(value), path)
            case datetime() | date() | time() if value == value:  # noqa: PLR0124 - unlike pandas' NaT
                return _text(value.isoformat(), path)
            case Decimal() | UUID():
                return _text(str(value), path)
        inside = _deeper(value, path, parents)
        match value:
            case Mapping():
                return _mapping(list(value.items()), path, inside)
            case list() | tuple():
                return _list(list(value), path, inside)
            case set() | frozenset():
                return _list(_in_order(value), path, inside)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return _mapping([(name, getattr(value, name)) for name in names], path, inside)
    except SerializationError:
        raise
    except Exception as error:
        raise refused(path, f"reading it raised {type(error).__name__}") from error
    raise refused(path, f"a {type(value).__qualname__} cannot be stored; {advice(value)}")


def refused(path: Path, reason: str) -> SerializationError:
    """The error that names the place of ``path`` in the state."""
    places = []
    while isinstance(path, tuple):
        path, place = path
        places.append(place)
    shown = ""
    for place in reversed(places):
        if isinstance(place, int) or not place.isidentifier():
            shown += f"[{place!r}]"
        else:
            shown += f".{place}" if shown else place
    return SerializationError(shown or path, reason)


def _deeper(value: Any, path: Path, parents: tuple[int, ...]) -> tuple[int, ...]:
    if id(value) in parents:
        raise refused(path, "it contains itself")
    if len(parents) >= MAX_DEPTH:
        raise refused(path, f"it is nested more than {MAX_DEPTH} levels deep")
    return (*parents, id(value))


def _list(items: list[Any], path: Path, inside: tuple[int, ...]) -> list[Any]:
    plain = []
    for at, item in enumerate(items):
        plain.append(_plain(item, (path, at), inside))  # a comprehension is one more frame a level
    return plain


def _mapping(items: list[tuple[Any, Any]], path: Path, inside: tuple[int, ...]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in items:
        if not isinstance(key, str):
            raise refused(
                path,
                f"it has a key that is a {type(key).__qualname__}; keys must be text: str(key)",
            )
        name = str.__str__(key)
        here = (path, name)
        if _text(name, here) in plain:
            raise refused(here, "two keys are the same as text")
        plain[name] = _plain(item, here, inside)
    return plain


def _in_order(value: Iterable[Any]) -> list[Any]:
    try:
        return sorted(value)
    except TypeError:  # of several types, or without an order of their own
        return sorted(value, key=lambda item: (type(item).__qualname__, str(item)))


def _text(text: str, path: Path) -> str:
    if "\0" in text:
        raise refused(path, "PostgreSQL cannot store U+0000 in a text; remove it")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refused(path, "it holds a lone surrogate; it is not Unicode text") from None
    return text


def _written_integer(number: int, path: Path) -> int | orjson.Fragment:
    if number in _INT64:
        return number
    digits = "" if number.bit_length() > _MAX_INTEGER_BITS else f"{Decimal(number):f}"
    if not digits or len(digits.lstrip("-")) > MAX_INTEGER_DIGITS:
        raise refused(path, f"it has more than {MAX_INTEGER_DIGITS:,} digits")
    return orjson.Fragment(digits.encode())


def _written_float(number: float, path: Path) -> float | orjson.Fragment:
    if not isfinite(number):
        raise refused(path, f"JSON has no {number!r}; store None or a text instead")
    if abs(number) < _POSITIONAL:
        return number
    # jsonb turns 1e25 into an integer, but keeps the zero of 10…0.0.
    return orjson.Fragment(f"{Decimal(repr(number)):f}.0".encode())
