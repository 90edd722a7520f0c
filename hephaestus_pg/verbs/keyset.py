"""Pages of a query, one after another by their last row (keyset), and the cursors between them.

``inserted_at`` and ``updated_at`` have a precision of one second, so that many rows share a moment:
the id, which is unique, decides among those.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Any, Literal, get_args

from hephaestus_pg.codec import exact_json
from hephaestus_pg.codec.timestamps import for_column
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError
from hephaestus_pg.values.arguments import whole_number
from hephaestus_pg.values.instance import Instance, checked_id, checked_moment
from hephaestus_pg.values.summary import Summary

Order = Literal["id", "inserted_at", "updated_at", "-id", "-inserted_at", "-updated_at"]
"""The orders of a query, with ``-`` from the end; the id decides between equal moments."""

MAX_ROWS = 2**63 - 1
"""The largest limit of a statement, a ``bigint``."""

_MAX_CURSOR_LENGTH = 4096  # several times what one with the longest id has


def cursor(instance: Instance | Summary, order_by: Order) -> str:
    """The place of ``instance`` in that order, as a text of URL-safe characters.

    Raises:
        InvalidValueError: There is no such order, or the instance was never stored.
    """
    if not isinstance(instance, (Instance, Summary)):
        raise InvalidTypeError("instance", instance, "give an Instance that a query gave")
    order = checked_order(order_by)
    moment = None
    if (column := order.removeprefix("-")) != "id":
        moment = getattr(instance, column)
        if moment is None:
            raise InvalidValueError(
                "instance", instance.id, f"it has no {column}; use one that a query gave"
            )
        moment = moment.isoformat()
    text, _, _ = exact_json.dumps({"order_by": order, "moment": moment, "id": instance.id})
    return urlsafe_b64encode(text).decode()


def parameters(order_by: Order, after: str | None, limit: int | None) -> tuple[Any, ...]:
    """The parameters of a page in that order that come behind the filters.

    Raises:
        InvalidValueError: The cursor is not one of this order, or the limit is out of its range.
    """
    rows = None if limit is None else str(checked_rows(limit, "limit"))
    moment, id = (None, None) if after is None else _place(after, order_by)
    return (id, rows) if _is_by_id(order_by) else (moment, id, rows)


def checked_rows(rows: Any, field: str) -> int:
    """``rows``, when it is a number of rows that a statement may be limited to."""
    return whole_number(field, rows, MAX_ROWS)


def checked_order(order_by: Any) -> Order:
    """``order_by``, when there is such an order."""
    if order_by not in get_args(Order):
        raise InvalidValueError("order_by", order_by, f"give one of {', '.join(get_args(Order))}")
    order: Order = order_by
    return order


def page(order_by: Order) -> str:
    """The name of the statement that gives a page in that order."""
    column = order_by.removeprefix("-")
    return f"page_by_{column}" if column == order_by else f"page_by_{column}_descending"


def _is_by_id(order: str) -> bool:
    return order in {"id", "-id"}


def _place(after: Any, order_by: Order) -> tuple[str | None, str]:
    if not isinstance(after, str):
        raise InvalidTypeError("after", after, "give a cursor, the text that storage.cursor made")
    try:
        place = exact_json.loads(urlsafe_b64decode(after[:_MAX_CURSOR_LENGTH].encode()).decode())
        order, moment = place["order_by"], place["moment"]
        id = checked_id(place["id"])
        if moment is not None:
            moment = for_column(checked_moment(datetime.fromisoformat(moment), "after"))
    except (binascii.Error, ValueError, TypeError, KeyError, UnicodeError):
        raise InvalidValueError("after", after, "it is not a cursor of storage.cursor") from None
    if order != order_by or (moment is None) != _is_by_id(order):
        raise InvalidValueError("after", after, f"it is a cursor by {order}, not by {order_by}")
    return moment, id
