"""A claim: the scope in which a runner's task works on an instance that the runner owns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from hephaestus_pg.errors import ClaimLostError, LifecycleError
from hephaestus_pg.values.instance import KEPT, Instance, is_work
from hephaestus_pg.verbs.observers import Observer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from types import TracebackType
    from uuid import UUID


class Owner(Protocol):
    """What a claim needs of its runner."""

    token: UUID

    @property
    def storage_name(self) -> str:
        """The name of its storage."""

    def require_alive(self, id: str) -> None:
        """Raises a :class:`ClaimLostError` if the runner is dead or stopped."""

    async def give_back(self, claim: Claim, *, failed: bool) -> bool:
        """Gives the instance back, after a ``failed`` attempt or not; ``False``: it was lost."""

    def ended(self, claim: Claim) -> None:
        """Notes that the claim has ended."""


class Claim:
    """An instance that a runner of this process owns; ``async with claim as instance``.

    The body is cancelled if the claim is lost, and leaving it raises a :class:`ClaimLostError`
    then, whatever the body raised. A body that ends gives the instance back, unless a write in it
    has done so: one that leaves the status at waiting, completed or failed. A body that raises an
    ``Exception`` counts as a failed attempt; one that is cancelled from outside does not. Where the
    runner is stopped meanwhile, the body is cancelled and its scope ends without an error. Open a
    transaction inside the scope, not around it: the end of the scope would wait for its locks.
    """

    def __init__(self, owner: Owner, instance: Instance, context: Context | None = None) -> None:
        self._owner = owner
        self._instance = instance
        self.context = context
        """In which it is given back: who leaves it may see other rows. ``None``: in that one's."""
        self._state = "new"
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._cancelled = False
        self._lost: str | None = None
        self._stopped = False
        self._given_up = False
        self._may_be_given_up = False
        """A transaction has given it up, if it was committed."""

    def __repr__(self) -> str:
        return f"<Claim of {self.id!r}, {self._state}>"

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._instance.id

    @property
    def token(self) -> int:
        """The fencing token: greater than that of every claim of this instance before.

        Give it to effects outside the database, so that they can refuse one with a lesser token.
        """
        assert self._instance.revision is not None
        return self._instance.revision

    @property
    def task(self) -> asyncio.Task[object] | None:
        """The task that entered its scope, until that ends."""
        return self._task

    async def __aenter__(self) -> Instance:
        if self._state != "new":
            raise LifecycleError(
                self._owner.storage_name,
                f"the claim of {self.id!r} has been used: take the next one from claims()",
            )
        if self._lost is not None:
            self._end()
            raise ClaimLostError(self.id, self._lost)
        try:
            self._owner.require_alive(self.id)
        except ClaimLostError:
            self._end()
            raise
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._state = "open"
        return self._instance

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        is_own_cancel = self._uncancel() and isinstance(error, asyncio.CancelledError)
        self._state = "leaving"  # from here on nobody cancels it
        try:
            if self._lost is None and not (self._given_up or self._stopped):
                failed = isinstance(error, Exception)
                was_owned = await self._owner.give_back(self, failed=failed)
                # Who has claimed it since, in this process too, did so behind that.
                is_own_end = was_owned or self._stopped or self._may_be_given_up
                self._lost = None if is_own_end else "somebody else has ended it"
        finally:
            self._end()
        if self._lost is not None and (is_own_cancel or not _is_cancel(error)):
            raise ClaimLostError(self.id, self._lost) from error
        return self._stopped and is_own_cancel

    def lose(self, reason: str) -> None:
        """Notes that it is lost, and cancels its body."""
        has_ended = self._given_up or self._stopped or self._state == "ended"
        if self._lost is None and not has_ended:
            self._lost = reason
            self._cancel()

    def stop(self, *, cancel: bool = True) -> None:
        """Cancels its body, or leaves that alone: the runner gives everything back."""
        self._stopped = True
        if cancel:
            self._cancel()

    def lose_to_others(self, reason: str) -> None:
        """Notes that others own it by now, or nobody: it is lost, unless it was given up here."""
        if not self._may_be_given_up:
            self.lose(reason)

    def was_written(self, instance: Instance | None, *, is_certain: bool) -> None:
        """Notes a write of this process, ``None`` a delete; in a transaction it is not certain."""
        if instance is None or instance.status not in KEPT:
            self._given_up |= is_certain
            self._may_be_given_up = True
        elif instance.runner == self._owner.token:
            self._may_be_given_up = False  # that transaction was rolled back
        elif is_certain:
            self.lose_to_others("somebody else has taken it")

    def was_stale(self, runner: str | None) -> None:
        """Notes that an update found the row at another revision, owned by ``runner``."""
        if runner != str(self._owner.token):
            self.lose_to_others("somebody else has ended it")

    def _cancel(self) -> None:
        if self._state == "open" and not self._cancelled:
            assert self._task is not None
            if asyncio.current_task() is self._task:
                # Until 3.13 one that it left the scope with would reach it behind the scope.
                asyncio.get_running_loop().call_soon(self._cancel)
                return
            self._cancelled = True
            self._task.cancel()

    def _uncancel(self) -> bool:
        """Takes our own cancellation back; ``True`` if it was the only one."""
        if not self._cancelled:
            return False
        assert self._task is not None
        return self._task.uncancel() <= self._cancelling

    def _end(self) -> None:
        self._state = "ended"
        self._task = None
        self._owner.ended(self)


def _is_cancel(error: BaseException | None) -> bool:
    return error is not None and not isinstance(error, Exception)


class Claims(Observer):
    """The claims of a storage's runners by id, which its writes are noted in."""

    def __init__(self) -> None:
        self.by_id: dict[str, Claim] = {}
        self.on_work: set[Callable[[bool], None]] = set()
        """Called when something may be claimable; with ``True``, if it may be so only later."""

    def wake(self, *, has_timer: bool) -> None:
        """Tells the runners that something may be claimable, with a timer only later."""
        for wake in self.on_work:
            wake(has_timer)

    def written(self, instance: Instance, *, is_certain: bool, is_listened: bool) -> None:
        """See :class:`Observer`."""
        del is_listened  # they hear of it in any case
        if (claim := self.by_id.get(instance.id)) is not None:
            claim.was_written(instance, is_certain=is_certain)
        if is_certain and is_work(instance):
            self.wake(has_timer=instance.due_at is not None)

    def deleted(self, id: str, *, is_certain: bool) -> None:
        """See :class:`Observer`."""
        if (claim := self.by_id.get(id)) is not None:
            claim.was_written(None, is_certain=is_certain)

    def stale(self, id: str, runner: str | None) -> None:
        """See :class:`Observer`."""
        if (claim := self.by_id.get(id)) is not None:
            claim.was_stale(runner)
