"""How far a claim reaches: how many instances it takes, and among how many of the oldest."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 100
"""Instances that one statement claims at the most."""

SPREAD, SPREAD_LEAST = 4, 20
"""Among how many times as many of the oldest a claim is drawn where there are other runners, and
among how many at least: if all take the first, most claims find them taken."""

AMONG_ALL = 500
"""Among how many of the oldest a claim reaches for all that it can have: more are not read."""

ONE_BY_ONE_SECONDS = 10.0
"""Seconds for which instances are claimed one by one, after one that may not be updated."""


class Reach:
    """Decides that by what the claims before have got, and by how many runners there are."""

    def __init__(self, runners: Callable[[], int]) -> None:
        self._runners = runners
        self._loop = asyncio.get_running_loop()
        self._is_far = True
        """The last claim got too little: perhaps the oldest are locked by others, for long."""
        self._one_by_one_until = -inf
        self.found_nothing = 0
        """Claims that reached for all and found nothing, since the last that found some."""

    @property
    def is_one_by_one(self) -> bool:
        """Instances are drawn one by one for a while."""
        return self._loop.time() < self._one_by_one_until

    @property
    def is_random(self) -> bool:
        """They are drawn at random, lest all take the same; otherwise the oldest are taken."""
        return self.is_one_by_one or not self._is_alone

    def number(self, waiting: int) -> int:
        """How many a claim takes at the most, where as many wait."""
        return min(waiting, 1 if self.is_one_by_one else MOST)

    def among(self, number: int) -> int:
        """Among how many of the oldest a claim takes that ``number``."""
        if self._is_far or self.is_one_by_one:
            return AMONG_ALL
        return number if self._is_alone else max(SPREAD * number, SPREAD_LEAST)

    def note(self, found: int, number: int) -> bool:
        """Notes what a claim of that ``number`` found; ``False`` if there is nothing more."""
        was_far, self._is_far = self._is_far, found < number
        if found:
            self.found_nothing = 0
        elif was_far:
            self.found_nothing += 1
        others_were_faster = found > 0 and not self._is_alone
        return found >= number or others_were_faster or not was_far

    def draw_one_by_one(self) -> None:
        """Has them drawn one by one, lest one that may not be updated is in each claim."""
        self._one_by_one_until = self._loop.time() + ONE_BY_ONE_SECONDS

    @property
    def _is_alone(self) -> bool:
        return self._runners() == 1
