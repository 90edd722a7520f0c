"""The started storages by name: the only global state of this package.

A forked process begins with an empty registry, because it cannot share its parent's connections.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from hephaestus_pg.errors import AlreadyStartedError, NotStartedError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

Storage = TypeVar("Storage")

_started: dict[str, tuple[object, AbstractEventLoop]] = {}

logger = logging.getLogger("hephaestus_pg")


def register(name: str, storage: object, loop: AbstractEventLoop) -> None:
    """Registers ``storage``, which belongs to ``loop``, under ``name``.

    The name of a storage whose event loop is closed is free: after an ``asyncio.run`` that ended
    with an error, a program may start again.

    Raises:
        AlreadyStartedError: Another storage has the name.
    """
    _forget_in_forks()
    held = _started.get(name)
    if held and held[0] is not storage:
        if not held[1].is_closed():
            raise AlreadyStartedError(name)
        logger.warning(
            "the event loop of storage %s was closed before the storage was: its connections were "
            "not closed; leave its `async with` block, or await storage.close(), before the loop "
            "ends",
            name,
        )
    _started[name] = storage, loop


def unregister(name: str, storage: object) -> None:
    """Frees the name if ``storage`` has it."""
    if name in _started and _started[name][0] is storage:
        del _started[name]


def find(name: str, kind: type[Storage]) -> Storage:
    """Returns the storage of that name, of type ``kind``, in constant time.

    Raises:
        NotStartedError: There is none; the error lists the names that are taken.
    """
    storage, loop = _started.get(name, (None, None))
    if not isinstance(storage, kind) or (loop is not None and loop.is_closed()):
        raise NotStartedError(name, names())
    return storage


def names() -> list[str]:
    """Returns the names that are taken, sorted."""
    return sorted(name for name, (_, loop) in _started.items() if not loop.is_closed())


@cache
def _forget_in_forks() -> None:
    """Empties the registry of each process that is forked from now on; done once."""
    os.register_at_fork(after_in_child=_started.clear)
