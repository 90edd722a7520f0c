"""Reads the fields of the list's form from a request's query; an error names the field."""

from __future__ import annotations

import argparse
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hephaestus_pg.cli.moments import WHEN, moment
from hephaestus_pg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ORDERS = {"-inserted_at": "newest first", "inserted_at": "oldest first"}
"""The orders of the list, both read from an index; the first one is the default."""

_CLOCKS = timedelta(hours=1)
"""How much the clocks of those who write may differ."""


def fields(query: Iterable[tuple[str, str]]) -> dict[str, str | list[str]]:
    """The fields of a query that are not empty; of those given twice the last, but each status."""
    given: dict[str, str | list[str]] = {}
    for name, value in query:
        if name == "status" and value:
            given[name] = [*given.get(name, ()), value]
        elif value:
            given[name] = value
    return given


def arguments(given: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """The arguments of ``summaries`` that the fields stand for.

    Raises:
        InvalidValueError: There is no such field, or its text is wrong.
    """
    found: dict[str, Any] = {"order_by": next(iter(ORDERS))}
    for name, text in given.items():
        if name not in _READERS:
            raise InvalidValueError("field", name, f"the fields are {', '.join(_READERS)}")
        read, hint = _READERS[name]
        try:
            found["status_in" if name == "status" else name] = read(text)
        except (ValueError, argparse.ArgumentTypeError):
            raise InvalidValueError(name, text, hint) from None
    if before := found.get("updated_before"):
        # There is no index of updated_at, but one of inserted_at: what was written by then was
        # inserted before.
        with suppress(OverflowError):
            bounds = (before + _CLOCKS, found.get("inserted_before"))
            found["inserted_before"] = min(filter(None, bounds))
    return found


def _order(text: str) -> str:
    if text not in ORDERS:
        raise ValueError(text)
    return text


def _runner(text: str) -> UUID | None:
    return None if text == "none" else UUID(text)


_TEXT: tuple[Callable[[Any], Any], str] = (lambda text: text, "")
_MOMENT: tuple[Callable[[Any], Any], str] = (moment, f"give {WHEN}")
_READERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "id": _TEXT,
    "status": _TEXT,
    "workflow": _TEXT,
    "workflow_family": _TEXT,
    "workflow_version": (int, "give a whole number"),
    "runner": (_runner, "give a runner's token, or none"),
    "due_before": _MOMENT,
    "inserted_before": _MOMENT,
    "inserted_after": _MOMENT,
    "updated_before": _MOMENT,
    "updated_after": _MOMENT,
    "order_by": (_order, f"give one of {', '.join(ORDERS)}"),
    "after": _TEXT,
}
