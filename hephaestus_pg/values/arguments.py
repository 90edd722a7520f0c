"""Checks of arguments that a slip easily turns into something else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import isawaitable, iscoroutinefunction
from typing import Any

from hephaestus_pg._checks import is_int
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError


def checked_flag(field: str, value: Any) -> bool:
    """Returns a ``bool``, and refuses anything else: ``"no"`` would count as true."""
    if value is not True and value is not False:
        raise InvalidTypeError(field, value, "give True or False")
    return value


def checked_progress(progress: Any, what: str) -> None:
    """Refuses what cannot be called with ``what``, and what would have to be awaited."""
    if not (progress is None or callable(progress)) or iscoroutinefunction(progress):
        raise InvalidTypeError("progress", progress, f"give a function of {what}, not async")


def whole_number(field: str, value: Any, highest: int, advice: str | None = None) -> int:
    """Returns a whole number from 1 to ``highest``, plain; ``True`` is none.

    ``advice`` replaces what the error says to give.
    """
    if not is_int(value):
        raise InvalidTypeError(field, value, advice or "give a whole number from 1 on")
    if not 0 < value <= highest:
        raise InvalidValueError(field, value, advice or f"give a whole number from 1 to {highest}")
    return int(value)


def answered(field: str, function: Callable[[Any], Any], argument: Any) -> Any:
    """Returns what the caller's ``function`` makes of ``argument``, unless it is async."""
    answer = function(argument)
    if isawaitable(answer):
        if hasattr(answer, "close"):
            answer.close()
        raise InvalidTypeError(field, function, "give a function that is not async")
    return answer


def unstorable(text: str) -> str | None:
    """Says why PostgreSQL cannot hold ``text``; ``None`` if it can."""
    if "\0" in text:
        return "PostgreSQL cannot store U+0000 in a text; remove it"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "it holds a lone surrogate; it is not Unicode text"
    return None


def listed(field: str, given: Any, what: str, *, keys: bool = False) -> list[Any]:
    """Returns the list of ``what`` that an iterable holds.

    A text is refused, because iterating it gives its characters. A mapping is refused too, unless
    its ``keys`` may be meant: those of the dict that ``get_many`` returns are ids.
    """
    if isinstance(given, list):
        return list(given)
    if isinstance(given, (str, bytes, bytearray, memoryview)):
        raise InvalidTypeError(field, given, f"give a list of {what}, even of a single one")
    if isinstance(given, Mapping) and not keys:
        raise InvalidTypeError(
            field, given, f"give a list of {what}: its values(), if those are they"
        )
    if hasattr(type(given), "__aiter__"):
        raise InvalidTypeError(
            field, given, f"give a list of {what}: [each async for each in …] collects them"
        )
    if not isinstance(given, Iterable):
        raise InvalidTypeError(field, given, f"give a list of {what}")
    return list(given)
