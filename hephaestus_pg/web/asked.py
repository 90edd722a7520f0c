"""What a request asks of the list, read from its query: an error names the field."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hephaestus_pg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

NOBODY = "none"
"""The runner of those that nobody owns."""

ORDERS = {
    "-inserted_at": "newest first",
    "inserted_at": "oldest first",
    "id": "by id",
    "-id": "by id, from the end",
}
"""The orders of the list, all read from an index."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The filters, the order and the place of a page of the list."""

    given: Mapping[str, str | list[str]]
    """The fields that are not empty, as text."""
    filters: dict[str, Any] = field(default_factory=dict)
    order_by: Any = "-inserted_at"
    after: str | None = None


def texts(query: Iterable[tuple[str, str]]) -> dict[str, str | list[str]]:
    """The fields of a query that are not empty; of those given twice the last, but each status."""
    given: dict[str, str | list[str]] = {}
    for name, value in query:
        if name == "status" and value:
            given[name] = [*given.get(name, ()), value]
        elif value:
            given[name] = value
    return given


def asked(given: Mapping[str, str | list[str]]) -> Asked:
    """What the fields ask for.

    Raises:
        InvalidValueError: There is no such field, or its text is wrong.
    """
    filters = dict(given)
    order_by, after = filters.pop("order_by", "-inserted_at"), filters.pop("after", None)
    if order_by not in ORDERS:
        raise InvalidValueError("order_by", order_by, f"give one of {', '.join(ORDERS)}")
    if "status" in filters:
        filters["status_in"] = filters.pop("status")
    read = {name: _READERS[name](name, text) for name, text in filters.items() if name in _READERS}
    return Asked(given, {**filters, **read}, order_by, after)  # type: ignore[arg-type]


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
    "workflow_version": _version,
    "runner": _runner,
    "due_before": _moment,
    "inserted_before": _moment,
    "inserted_after": _moment,
    "updated_before": _moment,
    "updated_after": _moment,
}
