"""What the model of runners says of an instance and of a claim, on which test_model.py runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hephaestus_pg import Status

if TYPE_CHECKING:
    import asyncio

    import asyncpg

    from hephaestus_pg import AsyncStorage, Claim, Instance

ATTEMPTS = 3


@dataclass
class Row:
    """An instance as its row is, with ``due`` in words."""

    status: Status
    due: str | None
    owner: str | None = None
    attempts: int = 0

    @property
    def is_work(self) -> bool:
        return self.status in {Status.PENDING, Status.RUNNING} or (
            self.status is Status.WAITING and self.due is not None
        )

    @property
    def is_claimable(self) -> bool:
        return self.owner is None and self.is_work and self.due in {None, "past"}

    def fail(self) -> None:
        if self.is_work:
            self.attempts += 1
            self.due = "never" if self.attempts >= ATTEMPTS or self.due == "never" else "future"
        self.owner = None

    def forget_backoff(self) -> None:
        if self.attempts and self.status in {Status.PENDING, Status.RUNNING}:
            self.due = None

    def write(self, status: Status, due: str | None) -> None:
        self.status, self.due, self.attempts = status, due, 0
        if status not in {Status.PENDING, Status.RUNNING}:
            self.owner = None


@dataclass
class Held:
    """A scope that is entered: what its body knows, and whether the model says it is lost."""

    id: str
    who: str
    claim: Claim
    instance: Instance
    ended: bool = False
    lost: bool = False
    was_put: bool = False
    """Its own process has put another end to it, which may hide that it was lost before."""


@dataclass
class Place:
    """Two processes' storages, and a way to the table beside them."""

    loop: asyncio.Runner
    storages: dict[str, AsyncStorage]
    link: asyncpg.Connection[Any]
