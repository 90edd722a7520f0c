"""Which storages are started, by name: the only state of this package that is not a value.

Behind functions, and one per process: a fork starts with an empty registry, since a pool's
connections cannot be shared with the parent.
"""

from __future__ import annotations

import os
from typing import TypeVar

from hephaestus_pg.errors import AlreadyStartedError, NotStartedError

Storage = TypeVar("Storage")

_started: dict[str, object] = {}


def register(name: str, storage: object) -> None:
    """Give ``storage`` the name.

    Raises:
        AlreadyStartedError: Another storage has it.
    """
    if _started.setdefault(name, storage) is not storage:
        raise AlreadyStartedError(name)


def unregister(name: str, storage: object) -> None:
    """Free the name, if it is ``storage`` that has it."""
    if _started.get(name) is storage:
        del _started[name]


def find(name: str, kind: type[Storage]) -> Storage:
    """The storage of that name, a ``kind``. Constant time.

    Raises:
        NotStartedError: There is none; the error lists those that there are.
    """
    storage = _started.get(name)
    if not isinstance(storage, kind):
        raise NotStartedError(name, _started)
    return storage


def names() -> list[str]:
    """The names that are taken, sorted."""
    return sorted(_started)


os.register_at_fork(after_in_child=_started.clear)
