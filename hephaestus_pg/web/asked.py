"""Reads from a request's query what the list is to show; an error names the field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hephaestus_pg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

NOBODY = "none"
"""The text for the runner of those that nobody owns."""

ORDERS = {
    "-inserted_at": "newest first",
    "inserted_at": "oldest first",
    "id": "by id",
    "-id": "by id, from the end",
}
"""The orders of the list, each read from an index; the first one is the default."""


def texts(query: Iterable[tuple[str, str]]) -> dict[str, str | list[str]]:
    """The fields of a query that are not empty; of those given twice the last, but each status."""
    given: dict[str, str | list[str]] = {}
    for name, value in query:
        if name == "status" and value:
            given[name] = [*given.get(name, ()), value]
        elif value:
            given[name] = value
    return given


def asked(given: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """The arguments of ``summaries`` that the fields stand for.

    Raises:
        InvalidValueError: There is no such field, or its text is wrong.
    """
    arguments: dict[str, Any] = {"order_by": next(iter(ORDERS))}
    for name, text in given.items():
        if name not in _READERS:
            raise InvalidValueError("field", name, f"the fields are {', '.join(_READERS)}")
        arguments["status_in" if name == "status" else name] = _READERS[name](name, text)
    return arguments


def _text(_: str, text: Any) -> Any:
    return text


def _order(name: str, text: Any) -> Any:
    if text not in ORDERS:
        raise InvalidValueError(name, text, f"give one of {', '.join(ORDERS)}")
    return text


def _version(name: str, text: Any) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidValueError(name, text, "give a whole number") from None


def _runner(name: str, text: Any) -> UUID | None:
    try:
        return None if text == NOBODY else UUID(text)
    except ValueError:
        raise InvalidValueError(name, text, f"give a runner's token, or {NOBODY}") from None


def _moment(name: str, text: Any) -> datetime:
    """Reads a moment; one without a zone is in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValueError(name, text, "give a moment, such as 2026-01-31T12:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "id": _text,
    "status": _text,
    "workflow": _text,
    "workflow_family": _text,
    "workflow_version": _version,
    "runner": _runner,
    "due_before": _moment,
    "inserted_before": _moment,
    "inserted_after": _moment,
    "updated_before": _moment,
    "updated_after": _moment,
    "order_by": _order,
    "after": _text,
}
