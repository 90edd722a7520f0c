"""Values as the page writes them: filters of its templates, which escape what these give."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hephaestus_pg.cli import options
from hephaestus_pg.codec import exact_json
from hephaestus_pg.codec.timestamps import from_epoch
from hephaestus_pg.errors import SerializationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta

MOST_CHARACTERS = 100_000
"""Characters of a value that are shown."""

_JSON = json.JSONEncoder(indent=2, ensure_ascii=False)


def column_moment(seconds: str | None) -> datetime | str | None:
    """A column's moment; its text, where Python knows no such moment."""
    try:
        return from_epoch(seconds)
    except ValueError:
        return seconds


def duration(value: timedelta) -> str:
    """A duration in its two largest units, such as ``2 h 5 min``."""
    return options.duration(value.total_seconds())


def size(number: int) -> str:
    """A number of bytes."""
    for unit in ("bytes", "KiB"):
        if number < 10_240:  # noqa: PLR2004 - five digits and more are hard to read
            return f"{number:,} {unit}"
        number //= 1024
    return f"{number:,} MiB"


def json_text(value: Any) -> str:
    """A value as JSON, cut at ``MOST_CHARACTERS``."""
    try:
        # Only as far as it is shown: indented, what is nested deeply is many times its size.
        return cut("".join(_first(_JSON.iterencode(value))))
    except (RecursionError, ValueError):  # a number of thousands of digits
        with suppress(SerializationError):
            return cut(exact_json.dumps({"": value})[0].decode()[4:-1])
        return "It is nested too deeply for this page."


def cut(text: str) -> str:
    """A text, cut at ``MOST_CHARACTERS``."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}\n… cut here"


def _first(pieces: Iterable[str]) -> Iterator[str]:
    length = 0
    for piece in pieces:
        yield piece
        length += len(piece)
        if length > MOST_CHARACTERS:
            return


def listed(**filters: Any) -> str:
    """The address of the list with these filters, from any page."""
    return f"instances?{urlencode(filters, doseq=True)}" if filters else "instances"


def shown(id: str) -> str:
    """The address of an instance, from any page; in the query, where ids may hold anything."""
    return f"instance?{urlencode({'id': id})}"
