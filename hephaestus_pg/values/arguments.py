"""Arguments of the verbs that a slip easily makes something else of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hephaestus_pg.errors import InvalidTypeError, is_a


def checked_flag(field: str, value: Any) -> bool:
    """``value``, when it is a ``bool``: ``"no"`` would be as good as ``True``."""
    if value is not True and value is not False:
        raise InvalidTypeError(field, value, "give True or False")
    return value


def listed(field: str, given: Any, what: str, *, keys: bool = False) -> list[Any]:
    """What is ``given`` as a list, when it is many of ``what``.

    A text is refused: it is iterated by its characters. So is a mapping, unless they may be its
    ``keys``, as those of what ``get_many`` gives are ids.
    """
    if is_a(given, list):
        return list(given)
    if any(is_a(given, kind) for kind in (str, bytes, bytearray, memoryview)):
        raise InvalidTypeError(field, given, f"give a list of {what}, even of a single one")
    if is_a(given, Mapping) and not keys:
        raise InvalidTypeError(
            field, given, f"give a list of {what}: its values(), if those are they"
        )
    if hasattr(type(given), "__aiter__"):
        raise InvalidTypeError(
            field, given, f"give a list of {what}: [each async for each in …] collects them"
        )
    if not is_a(given, Iterable):
        raise InvalidTypeError(field, given, f"give a list of {what}")
    return list(given)
