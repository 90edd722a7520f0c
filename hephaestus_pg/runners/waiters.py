"""Those who wait for an instance, the first come first."""

from __future__ import annotations

import asyncio
from collections import deque
from copy import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hephaestus_pg.errors import HephaestusError
    from hephaestus_pg.values.instance import Instance


class Waiters:
    """A queue of those who wait, each for an answer: an instance, or ``None`` that none comes."""

    def __init__(self) -> None:
        self._answers: deque[asyncio.Future[Instance | None]] = deque()

    def __bool__(self) -> bool:
        while self._answers and self._answers[0].done():
            self._answers.popleft()  # who was cancelled
        return bool(self._answers)

    def __len__(self) -> int:
        return sum(not answer.done() for answer in self._answers)

    def join(self) -> asyncio.Future[Instance | None]:
        """Lets one more wait; returns the answer."""
        answer: asyncio.Future[Instance | None] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        return answer

    def hand_out(self, instance: Instance) -> bool:
        """Gives it to the first; ``False`` if nobody waits any more."""
        if not self:
            return False
        self._answers.popleft().set_result(instance)
        return True

    def answer_all(self, error: HephaestusError | None) -> None:
        """Tells all that none comes, or the error why."""
        while self:
            answer = self._answers.popleft()
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(copy(error))
