"""Checks and limits of plain values that every layer may need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeGuard

MAX_ID_LENGTH = 255
"""The most characters that a stored id may have."""


def is_int(value: Any) -> TypeGuard[int]:
    """Returns ``True`` for an ``int``; ``True`` and ``False`` are none, though they are ints."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    """Returns ``True`` for an ``int`` or a ``float``, NaN too; ``True`` and ``False`` are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plain_text(text: str) -> str:
    """Returns ``text`` as a ``str`` proper: ``str()`` of a text enum's member is Class.MEMBER."""
    return str.__str__(text)
