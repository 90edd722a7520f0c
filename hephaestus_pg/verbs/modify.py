"""The verb that changes an instance by a function of the caller's."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from hephaestus_pg.errors import (
    InstanceNotFoundError,
    InvalidTypeError,
    InvalidValueError,
    StaleInstanceError,
)
from hephaestus_pg.execution.retrying import FIRST_PAUSE
from hephaestus_pg.values.arguments import answered
from hephaestus_pg.values.instance import Instance, checked_id
from hephaestus_pg.verbs.single import InstanceVerbs

if TYPE_CHECKING:
    from collections.abc import Callable

_LEAST = 0.001
"""Seconds that a read or an update has at least, however late the event loop comes to it."""


class ModifyVerbs(InstanceVerbs):
    """Beside the verbs on one instance one that reads, changes and updates it."""

    async def modify(
        self, id: str, change: Callable[[Instance], Instance], *, timeout: float | None = None
    ) -> Instance:
        """Reads the instance, changes it by ``change`` and updates it; again if another was first.

        ``change`` is given the instance and returns the changed one, by ``dataclasses.replace``. It
        may be called several times, so it does nothing else. In a transaction the row is locked
        from the read on, so that it is called once.

        Of two that count at once both make the same of what they read. So after a connection that
        broke, nobody can tell whose an equal instance in the row is, unlike with :meth:`update`.

        Raises:
            InstanceNotFoundError: There is no such row.
            StaleInstanceError: Others were first each time, until the deadline.
            ConnectionLostError: The answer to the update was lost, and the row is as it would be:
                by this change, or by the same of another.
            OperationTimeoutError: A read or an update was under way then.
            InvalidTypeError: ``change`` is no function that returns an instance.
            InvalidValueError: It returned another than it was given, or one of another revision.
            SerializationError: What it returned cannot be stored exactly.
        """
        checked_id(id)
        if not callable(change):
            raise InvalidTypeError("change", change, "give a function of an instance")
        if not self._executor.retries:
            with self._executor.operation("modify", id, timeout) as deadline:
                row = await self._executor.row(deadline, self._statements.get_locked, id)
            held = None if row is None else self._serializer.decode(self._own(row, "modify", id))
            return await self.update(_changed(id, held, change), timeout=timeout)
        now = asyncio.get_running_loop().time
        until = self._executor.deadline(timeout)
        while True:
            began = now()
            try:
                held = await self.get(id, timeout=max(until - began, _LEAST))
                changed = _changed(id, held, change)
                return await self._update(
                    changed, equal_counts=False, timeout=max(until - now(), _LEAST)
                )
            except StaleInstanceError:
                pause = random.uniform(0, FIRST_PAUSE)  # noqa: S311 - lest all come back at once
                if now() + pause + 2 * (now() - began) >= until:
                    raise  # rather than a try that would be cut off under way
            await asyncio.sleep(pause)


def _changed(id: str, held: Instance | None, change: Callable[[Instance], Any]) -> Instance:
    if held is None:
        raise InstanceNotFoundError(id)
    changed = answered("change", change, held)
    if not isinstance(changed, Instance):
        raise InvalidTypeError("change", changed, "it returns an Instance: replace(instance, ...)")
    if changed.id != id:
        raise InvalidValueError("id", changed.id, f"the change of {id!r} keeps its id")
    if changed.revision != held.revision:
        raise InvalidValueError(
            "revision",
            changed.revision,
            "change what the function is given, by replace, not one that was read before",
        )
    return changed
