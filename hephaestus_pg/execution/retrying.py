"""Doing again what failed: when that is safe, and while the deadline lasts."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from hephaestus_pg.errors import OperationTimeoutError

if TYPE_CHECKING:
    from hephaestus_pg.errors import DatabaseError

logger = logging.getLogger("hephaestus_pg")

FEW = 5
"""Tries where the index of the key is amiss: it is being exchanged, or it is not there."""

_OF_AN_INDEX = {"23505", "42P10"}

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
"""Seconds, at the most, before the second try and between later ones; they double in between."""


class Retries:
    """What failed tries of one operation have come to; it is to end by the ``deadline``.

    Made at the first failure: what succeeds at once costs nothing. ``safe_twice``: a try that may
    have been applied may be followed by another.
    """

    def __init__(self, deadline: float, name: str, *, safe_twice: bool) -> None:
        self._deadline = deadline
        self._name = name
        self._safe_twice = safe_twice
        self._longest = FIRST_PAUSE
        self._ambiguous = False
        self._tries = 0
        self._level = logging.WARNING

    async def another(self, error: DatabaseError) -> bool:
        """Whether there is another try, after a pause; if not, the error is to be raised.

        It says "unknown" then if any try may have been applied, not only the last.
        """
        self._ambiguous = self._ambiguous or error.applied == "unknown"
        self._tries += 1
        pause = random.uniform(0, self._longest)  # noqa: S311 - lest all come back at once
        if (
            not error.retryable
            or isinstance(error, OperationTimeoutError)
            or (self._tries >= FEW and getattr(error.__cause__, "sqlstate", "") in _OF_AN_INDEX)
            or (error.applied != "no" and not self._safe_twice)
            or asyncio.get_running_loop().time() + pause >= self._deadline
        ):
            if self._ambiguous:
                error.applied = "unknown"
            return False
        logger.log(self._level, "%s is tried again until its deadline: %s", self._name, error)
        # One line a call is enough in an outage of minutes; the last error is the caller's.
        self._level = logging.DEBUG
        await asyncio.sleep(pause)
        self._longest = min(2 * self._longest, LONGEST_PAUSE)
        return True
