"""Moments as they stand in a state and in the columns, and as aware datetimes.

A stored text comes back as it was written, even by others: ``.500Z`` and ``.500000Z`` are one
moment only, and ``datetime`` knows nothing of the difference.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

REMEMBERED = 10_000
"""Moments that are not read anew: each look at an instance reads all of its entries again."""

# A timestamp's own form, once it is known to be a timestamp; by far the most of them have it.
_as_written = re.compile(r"....-..-..T..:..:..(?:\.(?!000000)......)?Z").fullmatch


class _StoredMoment(datetime):
    """A moment with the text it was read from."""

    text: str

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A datetime's own leaves the text behind; what is made from a moment has none.
        if hasattr(self, "text"):
            return moment_of, (self.text,)
        return super().__reduce_ex__(protocol)


@lru_cache(maxsize=REMEMBERED)
def moment_of(text: str) -> datetime:
    """The aware moment of a stored text; :func:`text_of` gives the same text again.

    Raises:
        ValueError: It is none. The text, which may be anything, is not in the message.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("its timestamp is not one of ISO 8601") from None
    if _as_written(text):
        return moment
    if moment.tzinfo is None:
        raise ValueError("its timestamp has no time zone")
    stored = _StoredMoment.fromisoformat(text)
    stored.text = text
    return stored


@lru_cache(maxsize=REMEMBERED)
def moment_at(seconds: str | float | None) -> datetime | None:
    """The aware moment of a column, as its seconds since 1970; ``None`` of what is not stored yet.

    Seconds cross the wire, and not a timestamp: where one is infinite, or before or after the years
    that Python knows, the driver would fail the whole statement. It is faster too.

    Raises:
        ValueError: It is no moment that Python knows.
    """
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (OverflowError, ValueError):
        raise ValueError("its inserted_at or updated_at is not in the years 1 to 9999") from None


def text_of(moment: datetime) -> str:
    """What is stored for an aware moment: in UTC, ending in ``Z``."""
    if isinstance(moment, _StoredMoment) and hasattr(moment, "text"):
        return moment.text
    return f"{moment.astimezone(UTC).isoformat()[:-6]}Z"  # for +00:00


def for_column(moment: datetime) -> str:
    """The aware moment as a column holds it, as text."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
