"""Advice for the error about a value that a state can't hold: what to store instead."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePath

_BY_TYPE: tuple[tuple[tuple[type, ...], str], ...] = (
    ((bytes, bytearray, memoryview), "base64.b64encode(value).decode()"),
    ((timedelta,), "value.total_seconds()"),
    ((complex,), "[value.real, value.imag]"),
    ((PurePath, Fraction, IPv4Address, IPv6Address, IPv4Network, IPv6Network), "str(value)"),
    ((BaseException,), "repr(value)"),
    ((type,), "its name, as a text"),
)

# An attribute by which the classes of a library are known. The value itself is not asked: it may
# answer to any name.
_BY_MARK = {
    "model_dump": 'value.model_dump(mode="json")',  # pydantic
    "__attrs_attrs__": "attrs.asdict(value)",
    "__struct_fields__": "msgspec.to_builtins(value)",
    "tolist": "value.tolist()",  # numpy
    "to_dict": "value.to_dict()",  # pandas
    "__await__": "what it gives: await it first",
    "_mapping": "dict(value._mapping)",  # SQLAlchemy's rows
    "keys": "dict(value)",  # asyncpg's records
    "__iter__": "list(value)",
    "__aiter__": "what it gives, as a list",
}


def advice(value: object) -> str:
    """Says what to store instead of ``value``."""
    kind = type(value)
    for types, instead in _BY_TYPE:
        if issubclass(kind, types):
            return f"store {instead}"
    for mark, instead in _BY_MARK.items():
        if any(mark in vars(base) for base in kind.__mro__):
            return f"store {instead}"
    return "turn it into text, numbers, lists or maps"
