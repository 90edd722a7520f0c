"""Those who need to know what the verbs write here: claims, waiters, other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus_pg.values.instance import is_work

if TYPE_CHECKING:
    from asyncpg import Record

    from hephaestus_pg.values.instance import Instance


EVERYTHING = "all"
"""Of everything that is written somebody has to be told."""


class Observer:
    """Hears of what was written. What it need not know, it inherits."""

    def written(self, instance: Instance, *, is_certain: bool, is_listened: bool) -> None:
        """Notes what is in the row now.

        It is certain unless a transaction may still take it back. It is listened to where a process
        needs to be told of it.
        """

    def deleted(self, id: str, *, is_certain: bool) -> None:
        """Notes that there is no row now."""

    def stale(self, id: str, runner: str | None) -> None:
        """Notes that the row is at another revision than an update expected, and who owns it."""


class Observers:
    """Tells each of what was written; ``is_certain`` says that no transaction takes it back."""

    def __init__(
        self, *observers: Observer, is_certain: bool = True, listened: str | None = None
    ) -> None:
        self._observers = [*observers]
        self._is_certain = is_certain
        self.listened = listened
        """What other processes listened to when a write last asked: ``all``, or ``work`` alone."""

    def add(self, observer: Observer) -> None:
        """Tells it too from now on, unless it is told already."""
        if observer not in self._observers:
            self._observers.append(observer)

    def written(self, row: Record, stored: Instance) -> Instance:
        """Tells what a write left behind, of which the ``row`` is its answer, and returns it."""
        listened = self.listened = row.get("listened", self.listened)
        is_listened = listened == EVERYTHING or (listened == "work" and is_work(stored))
        for observer in self._observers:
            observer.written(stored, is_certain=self._is_certain, is_listened=is_listened)
        return stored

    def deleted(self, id: str) -> None:
        """Tells that there is no row with that id."""
        for observer in self._observers:
            observer.deleted(id, is_certain=self._is_certain)

    def stale(self, id: str, runner: str | None) -> None:
        """Tells that an update met another revision, owned by ``runner``."""
        for observer in self._observers:
            observer.stale(id, runner)
