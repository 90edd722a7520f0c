"""Tries again what failed, where that is safe and while the deadline lasts."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hephaestus_pg.errors import DatabaseError, OperationTimeoutError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = TypeVar("Result")

logger = logging.getLogger("hephaestus_pg")

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
"""Seconds, at the most, before the second try and between later ones; they double in between."""

# unique_violation and invalid_column_reference: ON CONFLICT (id) raises them while the key's index
# is rebuilt concurrently, and where it is missing.
_INDEX_ERRORS = {"23505", "42P10"}


@dataclass(frozen=True, slots=True)
class Policy:
    """The failures that another try may follow."""

    repeat_unknown: bool
    """A try that may have been applied may be followed by another."""
    index_tries: int = 5
    """Tries in all after an error of the key's index."""


IDEMPOTENT = Policy(repeat_unknown=True)
NON_IDEMPOTENT = Policy(repeat_unknown=False)
RECONCILED = Policy(repeat_unknown=False, index_tries=1)
"""For work whose statements have tries of their own, and surely failed when it is run again."""


async def run(  # noqa: PLR0913 - each is a setting of its own
    work: Callable[[], Awaitable[Result]],
    policy: Policy,
    deadline: float,
    *,
    name: str,
    schema: str,
    on_failure: Callable[[DatabaseError], Awaitable[None]] | None = None,
) -> Result:
    """The result of ``work``, run until it succeeds, must not be run again, or is out of time.

    Args:
        work: One try.
        policy: Which failures another try may follow.
        deadline: When the last try may begin, a time of the event loop's clock.
        name: The work's name in the log.
        schema: The schema that it works on, for the log.
        on_failure: Awaited after each failed try. It may mend what broke, say by ``applied`` and
            ``retryable`` what it found out about the try, or raise an error that ends the work.

    Raises:
        DatabaseError: That of the last try. It says "unknown" if any try may have been applied.
    """
    retries: _Retries | None = None  # what succeeds at once pays for none
    while True:
        try:
            return await work()
        except DatabaseError as error:
            if on_failure is not None:
                await on_failure(error)
            if retries is None:
                retries = _Retries(policy, deadline, f"{name} in schema {schema}")
            if not await retries.should_retry(error):
                raise


class _Retries:
    """The failed tries of one piece of work so far."""

    def __init__(self, policy: Policy, deadline: float, name: str) -> None:
        self._policy = policy
        self._deadline = deadline
        self._name = name
        self._longest = FIRST_PAUSE
        self._unknown = False
        self._tries = 0
        self._level = logging.WARNING

    async def should_retry(self, error: DatabaseError) -> bool:
        """Pauses and says yes, or completes the error that is to be raised and says no."""
        self._unknown = self._unknown or error.applied == "unknown"
        self._tries += 1
        pause = random.uniform(0, self._longest)  # noqa: S311 - lest all come back at once
        in_time = asyncio.get_running_loop().time() + pause < self._deadline
        if not (in_time and self._is_safe(error)):
            if self._unknown:
                error.applied = "unknown"
            return False
        logger.log(self._level, "%s is tried again until its deadline: %s", self._name, error)
        # One line a call is enough in an outage of minutes; the last error is the caller's.
        self._level = logging.DEBUG
        await asyncio.sleep(pause)
        self._longest = min(2 * self._longest, LONGEST_PAUSE)
        return True

    def _is_safe(self, error: DatabaseError) -> bool:
        if not error.retryable or isinstance(error, OperationTimeoutError):
            return False
        of_index = error.sqlstate in _INDEX_ERRORS
        if of_index and self._tries >= self._policy.index_tries:
            return False
        return error.applied == "no" or self._policy.repeat_unknown
