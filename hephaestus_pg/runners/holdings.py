"""The instances that a runner owns in this process, and their claims."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus_pg.runners.claim import Claim, Claims


class Holdings:
    """The ids that a runner owns, each with its claim; ``claims`` are those of the whole storage.

    An id has no claim before it is handed out, and while it waits to be given back.
    """

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._by_id: dict[str, Claim | None] = {}
        self._expected: list[str] = []
        self._changed = asyncio.Event()

    def __contains__(self, id: str) -> bool:
        return id in self._by_id

    def __len__(self) -> int:
        return len(self._by_id)

    def ids(self) -> list[str]:
        """Returns the ids, with those that are expected."""
        return [*self._by_id, *self._expected]

    @contextmanager
    def expecting(self, id: str) -> Iterator[None]:
        """Tells of an id that it may become this runner's in the block, or still be so."""
        self._expected.append(id)
        try:
            yield
        finally:
            self._expected.remove(id)

    def claims(self) -> list[Claim]:
        """Returns the claims."""
        return [claim for claim in self._by_id.values() if claim is not None]

    def claimed(self, id: str) -> None:
        """Adds an id that has just been claimed."""
        # It may have been released while a scope here is open, of this runner's or another's: that
        # must not go on, or give it back.
        if (before := self._claims.by_id.get(id)) is not None:
            before.lose_to_others("it was released, and has been claimed again")
        self._by_id[id] = None

    def handed_out(self, claim: Claim) -> None:
        """Adds the claim of an id."""
        self._by_id[claim.id] = self._claims.by_id[claim.id] = claim

    def reserve(self, id: str) -> None:
        """Keeps an id, without a claim, until it is dropped."""
        self._by_id[id] = None

    def drop(self, id: str) -> None:
        """Forgets an id."""
        self._by_id.pop(id, None)

    def ended(self, claim: Claim) -> None:
        """Forgets a claim, and its id unless that is kept or claimed again."""
        if self._claims.by_id.get(claim.id) is claim:
            del self._claims.by_id[claim.id]
        if self._by_id.get(claim.id) is claim:
            del self._by_id[claim.id]
        self._changed.set()

    def entered(self, *, but: asyncio.Task[object] | None) -> list[Claim]:
        """Returns the claims whose scopes a task is in, other than ``but``.

        A task that has ended left its scope to another, as pytest does with fixtures that yield.
        """
        return [
            claim
            for claim in self.claims()
            if claim.task not in {None, but} and not claim.task.done()
        ]

    async def left(self, *, but: asyncio.Task[object] | None) -> None:
        """Waits until no task is in a scope, other than ``but``."""
        while self.entered(but=but):
            self._changed.clear()
            await self._changed.wait()
