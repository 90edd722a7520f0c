"""Figures about a storage in this process: its pool, its calls, its statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStats:
    """A storage at one moment, with counts since it started."""

    connections_in_use: int
    connections_idle: int
    connections_waited_for: int
    """Statements and transactions that wait for a connection of the pool."""
    calls_under_way: int
    """Calls that have begun and not ended, transactions among them."""
    calls_queued: int
    """Calls of single-instance verbs that share statements: queued or under way."""
    calls_outside: int
    """Calls of those verbs that wait to be admitted, since too many are queued."""
    ids_held: int
    """Ids with such a call, behind which later calls on the same id wait."""
    statements_under_way: int
    """Batches of those calls on the server, or on their way there."""
    batch_sizes: Mapping[int, int]
    """Batches so far, by the number of calls in each as it was first sent."""
    failed_tries: int
    """Failed tries so far of statements and of beginning transactions.

    What fails within a caller's own transaction is not counted.
    """

    @property
    def is_idle(self) -> bool:
        """No call is under way, nothing waits, and every connection is in the pool."""
        return not (
            self.connections_in_use
            or self.connections_waited_for
            or self.calls_under_way
            or self.calls_queued
            or self.calls_outside
            or self.ids_held
            or self.statements_under_way
        )
