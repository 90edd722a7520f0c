"""Timestamps as text of a state, as seconds of a column, and as aware datetimes.

A stored text comes back as it was written, even by other programs: ``.500Z`` and ``.500000Z`` are
the same ``datetime``, so such a text is kept beside the moment.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

CACHE_SIZE = 10_000
"""Timestamps kept parsed; each read of an instance parses its whole history."""

# The form that format() gives to a timestamp; nearly all stored ones have it.
_own_form = re.compile(r"....-..-..T..:..:..(?:\.(?!000000)......)?Z").fullmatch
_OWN_FORM, _OWN_WHOLE_FORM = b"0000-00-00T00:00:00.000000Z|", b"0000-00-00T00:00:00Z|"
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")


class _StoredMoment(datetime):
    """A moment with the text it was read from."""

    text: str

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A datetime's own drops the text. A moment computed from this one has none.
        if hasattr(self, "text"):
            return parse, (self.text,)
        return super().__reduce_ex__(protocol)


@lru_cache(maxsize=CACHE_SIZE)
def parse(text: str) -> datetime:
    """Reads the timestamp of a state; :func:`format` gives the same text again.

    Raises:
        ValueError: It is none, or has no time zone. The message does not show the text, which may
            be anything.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("its timestamp is not one of ISO 8601") from None
    if _own_form(text):
        return moment
    if moment.tzinfo is None:
        raise ValueError("its timestamp has no time zone")
    stored = _StoredMoment.fromisoformat(text)
    stored.text = text
    return stored


def parse_all(texts: Sequence[str]) -> list[datetime] | None:
    """Reads timestamps as :func:`parse` does, if :func:`format` wrote them all; else ``None``.

    Raises:
        TypeError: One of them is no text.
        ValueError: One of them is no timestamp.
    """
    moments = list(map(datetime.fromisoformat, texts))
    together = f"{'|'.join(texts)}|"
    forms = together.encode().translate(_DIGITS_AS_ZERO)
    if forms != _OWN_FORM * len(texts) and (
        forms.count(_OWN_FORM) + forms.count(_OWN_WHOLE_FORM) != len(texts)
    ):
        return None
    return None if ".000000" in together else moments


def format(moment: datetime) -> str:
    """Writes an aware moment for a state: in UTC, ending in ``Z``."""
    if type(moment) is datetime and moment.tzinfo is UTC:  # the usual case, without a copy
        return f"{moment.isoformat()[:-6]}Z"
    if isinstance(moment, _StoredMoment) and hasattr(moment, "text"):
        return moment.text
    return f"{moment.astimezone(UTC).isoformat().removesuffix('+00:00')}Z"


@lru_cache(maxsize=CACHE_SIZE)
def from_epoch(seconds: str | float | None) -> datetime | None:
    """Reads a column's moment, sent as seconds since 1970; ``None`` is not stored yet.

    The driver would fail a whole statement over one timestamp that is infinite or outside of the
    years that Python knows. Seconds are also faster to read.

    Raises:
        ValueError: Python knows no such moment.
    """
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (OverflowError, ValueError):
        raise ValueError("one of its moments is not in the years 1 to 9999") from None


def for_column(moment: datetime) -> str:
    """Writes an aware moment for a column, which has no time zone and is in UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


NEVER = "Infinity"
"""A due moment that does not come, in seconds as the server prints it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = Context(prec=28, traps=[])  # the program's own may have few digits


@lru_cache(maxsize=CACHE_SIZE)
def parse_due(seconds: str) -> datetime | None:
    """Reads when an instance is due, to the microsecond; ``None`` if it never is.

    A float, as elsewhere, is not exact for the far future, where such moments may lie.

    Raises:
        ValueError: Python knows no such moment.
    """
    if seconds == NEVER:
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(_EXACT.multiply(Decimal(seconds), 1_000_000)))
    except (OverflowError, ArithmeticError):
        raise ValueError("its due_at is not in the years 1 to 9999") from None


def format_due(moment: datetime) -> str:
    """Writes an aware moment for a column that has a time zone."""
    return moment.astimezone(UTC).isoformat(" ")
