"""Which storages are started, by name: the only state of this package that is not a value.

Behind functions, and one per process: a fork starts with an empty registry, since a pool's
connections cannot be shared with the parent.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, TypeVar

from hephaestus_pg.errors import AlreadyStartedError, NotStartedError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

Storage = TypeVar("Storage")

_started: dict[str, tuple[object, AbstractEventLoop]] = {}

logger = logging.getLogger("hephaestus_pg")


def register(name: str, storage: object, loop: AbstractEventLoop) -> None:
    """Give ``storage``, which belongs to ``loop``, the name.

    A storage whose event loop is closed is dead, such as one of a program whose first
    ``asyncio.run`` ended with an error: its name is free.

    Raises:
        AlreadyStartedError: Another storage has it.
    """
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
    """Free the name, if it is ``storage`` that has it."""
    if name in _started and _started[name][0] is storage:
        del _started[name]


def find(name: str, kind: type[Storage]) -> Storage:
    """The storage of that name, a ``kind``. Constant time.

    Raises:
        NotStartedError: There is none; the error lists those that there are.
    """
    storage, loop = _started.get(name, (None, None))
    if not isinstance(storage, kind) or (loop is not None and loop.is_closed()):
        raise NotStartedError(name, names())
    return storage


def names() -> list[str]:
    """The names that are taken, sorted."""
    return sorted(name for name, (_, loop) in _started.items() if not loop.is_closed())


os.register_at_fork(after_in_child=_started.clear)
