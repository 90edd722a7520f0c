"""Doing again what failed: when that is safe, and while the deadline lasts."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, TypeVar

from hephaestus_pg.errors import DatabaseError, OperationTimeoutError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("hephaestus_pg")

Result = TypeVar("Result")

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
"""Seconds, at the most, before the second try and between later ones; they double in between."""


async def retried(
    deadline: float, name: str, attempt: Callable[[], Awaitable[Result]], *, safe_twice: bool
) -> Result:
    """What ``attempt`` gives. It is to end by the ``deadline``, a time of the loop's clock.

    An error says "unknown" if any try may have been applied, not only the last.
    """
    loop = asyncio.get_running_loop()
    longest = FIRST_PAUSE
    ambiguous = False
    while True:
        try:
            return await attempt()
        except DatabaseError as error:
            ambiguous = ambiguous or error.applied == "unknown"
            pause = random.uniform(0, longest)  # noqa: S311 - lest all come back at once
            if (
                not error.retryable
                or isinstance(error, OperationTimeoutError)
                or (error.applied != "no" and not safe_twice)
                or loop.time() + pause >= deadline
            ):
                if ambiguous:
                    error.applied = "unknown"
                raise
            logger.warning("%s is tried again: %s", name, error)
        await asyncio.sleep(pause)
        longest = min(2 * longest, LONGEST_PAUSE)
