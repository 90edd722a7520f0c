"""Moments and ages: as a person types them, and as they are shown."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

WHEN = "an age, such as 90m, 12h, 30d or 8w, or a moment, such as 2026-01-31T12:00Z"
"""The texts that :func:`moment` takes, for a command's help."""

_AGE = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SHOWN = (("d", 86_400), ("h", 3_600), ("m", 60))


def age(text: str) -> timedelta:
    """Parses an age such as ``30d``; the type of an argument."""
    try:
        if found := _AGE.fullmatch(text):
            return timedelta(**{_UNITS[found[2]]: int(found[1])})
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no age such as 30d")


def moment(text: str) -> datetime:
    """Parses an age, counted back from now, or a moment; one without a zone is in UTC."""
    try:
        if _AGE.fullmatch(text):
            return datetime.now(UTC) - age(text)
        given = datetime.fromisoformat(text)
        return given.astimezone(UTC) if given.tzinfo else given.replace(tzinfo=UTC)
    except (ValueError, OverflowError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither an age such as 30d nor a moment such as 2026-01-31"
        ) from None


def span(given: timedelta) -> str:
    """Shows a time in its largest unit of which there are two: ``90s``, ``15m``, ``47h``, ``9d``.

    What is negative, since clocks differ, is ``0s``.
    """
    seconds = max(0, int(given.total_seconds()))
    for name, size in _SHOWN:
        if seconds >= 2 * size:
            return f"{seconds // size}{name}"
    return f"{seconds}s"


def between(given: timedelta) -> str:
    """Shows the time between two events, which may be short: ``120ms``, ``3.4s``, ``5m``.

    It is negative, such as ``-5m``, where the clocks of those who wrote them differ.
    """
    seconds = given.total_seconds()
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f}ms"
    if abs(seconds) < 2 * 60:
        return f"{seconds:.1f}s"
    return f"-{span(-given)}" if seconds < 0 else span(given)


def since(then: datetime | None, now: datetime) -> str:
    """Shows the time from ``then`` to ``now``, or nothing if ``then`` is not known."""
    return "" if then is None else span(now - then)


def exact(given: datetime) -> str:
    """Shows a moment in UTC, to the millisecond if it has a fraction of a second."""
    utc = given.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(" ", "milliseconds" if utc.microsecond else "seconds")
