"""Any value as plain types that JSON and ``jsonb`` keep exactly, or an error with its path."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from math import isfinite, log2
from typing import Any
from uuid import UUID

import orjson

from hephaestus_pg._checks import plain_text
from hephaestus_pg.codec.advice import advice
from hephaestus_pg.errors import SerializationError
from hephaestus_pg.values.arguments import unstorable

MAX_DEPTH = 254
"""Levels of nesting in a state that is written: orjson's own limit."""

MAX_INTEGER_DIGITS = 131_072
"""Digits of an integer: the limit of PostgreSQL's ``numeric``, and so of ``jsonb``."""

_MAX_INTEGER_BITS = int(MAX_INTEGER_DIGITS * log2(10)) + 1
_INT64 = range(-(2**63), 2**64)  # the integers that orjson writes and reads exactly
_POSITIONAL = 1e16  # orjson writes a float from here on with an exponent

Path = tuple[Any, int | str] | str
"""The place of a value: the path of its container and its key there, or the name of the root.

A nested tuple costs nothing until an error writes it out.
"""


def plain(value: Any, root: str) -> Any:
    """Returns ``value`` in plain types, with a fragment for each number that orjson can't write.

    Raises:
        SerializationError: Something in it cannot be stored exactly. It names the path, or ``root``
            for the value itself.
    """
    return _plain(value, root, ())


def _plain(value: Any, path: Path, parents: tuple[int, ...]) -> Any:  # noqa: C901, PLR0912 - one case a type
    """Converts the value at ``path``; ``parents`` are the ids of the containers around it."""
    kind = type(value)  # the usual types first: a match asks one question after another
    if kind is str:
        if reason := unstorable(value):
            raise refused(path, reason)
        return value
    try:
        if kind is int:
            return _exact_integer(value, path)
        if kind is dict:
            return _mapping(list(value.items()), path, _deeper(value, path, parents))
        match value:
            case None | bool():
                return value
            case Enum():
                return _plain(value.value, path, parents)
            case str():
                return _plain(plain_text(value), path, parents)
            case int():
                return _exact_integer(int(value), path)
            case float():
                return _exact_float(float(value), path)
            case datetime() | date() | time() if value == value:  # noqa: PLR0124 - unlike pandas' NaT
                return value.isoformat()
            case Decimal() | UUID():
                return str(value)
        inside = _deeper(value, path, parents)
        match value:
            case Mapping():
                return _mapping(_items(value, path), path, inside)
            case list() | tuple():
                return _list(list(value), path, inside)
            case set() | frozenset():
                return _list(_in_order(value), path, inside)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return _mapping([(name, getattr(value, name)) for name in names], path, inside)
    except SerializationError:
        raise
    # A lazily loaded attribute may raise anything; so may a full stack, which keeps its path here.
    except Exception as error:
        raise refused(path, f"reading it raised {type(error).__name__}") from error
    raise refused(path, f"a {type(value).__qualname__} cannot be stored; {advice(value)}")


def refused(path: Path, reason: str) -> SerializationError:
    """Makes the error that writes ``path`` out."""
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
    converted = []
    for at, item in enumerate(items):
        # No comprehension, which is one more frame a level.
        converted.append(_plain(item, (path, at), inside))
    return converted


def _items(value: Mapping[Any, Any], path: Path) -> list[tuple[Any, Any]]:
    """Lists the items of a mapping, and refuses one that holds values which those do not show."""
    items = list(value.items())
    if hasattr(type(value), "getlist"):  # a web framework's, of a form or a query
        for key, shown in items:
            values = value.getlist(key)  # type: ignore[attr-defined]
            if len(values) > 1 and shown != values:
                raise refused(
                    (path, str(key)),
                    f"it has {len(values)} values, of which one would be stored; store "
                    "{key: value.getlist(key) for key in value}",
                )
    return items


def _mapping(items: list[tuple[Any, Any]], path: Path, inside: tuple[int, ...]) -> dict[str, Any]:
    converted: dict[str, Any] = {}
    for key, item in items:
        if not isinstance(key, str):
            raise refused(
                path,
                f"it has a key that is a {type(key).__qualname__}; keys must be text: str(key)",
            )
        name = plain_text(key)
        here = (path, name)
        if reason := unstorable(name):
            raise refused(here, reason)
        if name in converted:
            raise refused(here, "two keys are the same as text")
        converted[name] = _plain(item, here, inside)
    return converted


def _in_order(value: Iterable[Any]) -> list[Any]:
    try:
        return sorted(value)
    except TypeError:  # of several types, or without an order of their own
        return sorted(value, key=lambda item: (type(item).__qualname__, str(item)))


def _exact_integer(number: int, path: Path) -> int | orjson.Fragment:
    if number in _INT64:
        return number
    digits = "" if number.bit_length() > _MAX_INTEGER_BITS else f"{Decimal(number):f}"
    if not digits or len(digits.lstrip("-")) > MAX_INTEGER_DIGITS:
        raise refused(path, f"it has more than {MAX_INTEGER_DIGITS:,} digits")
    return orjson.Fragment(digits.encode())


def _exact_float(number: float, path: Path) -> float | orjson.Fragment:
    if not isfinite(number):
        raise refused(path, f"JSON has no {number!r}; store None or a text instead")
    if abs(number) < _POSITIONAL:
        return number
    # jsonb turns 1e25 into an integer, but keeps the zero of 10…0.0.
    return orjson.Fragment(f"{Decimal(repr(number)):f}.0".encode())
