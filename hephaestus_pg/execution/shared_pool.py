"""The pool of one storage or several: where it comes from, and that it ends with the last."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hephaestus_pg.driver.hooks import option_hooks, pool_hooks
from hephaestus_pg.driver.pool import checked_pool, open_pool, usable_pool
from hephaestus_pg.driver.pool_options import checked_pool_options
from hephaestus_pg.errors import InvalidValueError
from hephaestus_pg.execution.connections import PoolConnections
from hephaestus_pg.execution.kept import KeptConnections

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from asyncpg import Pool

    from hephaestus_pg.batching.keyed import BatchBy
    from hephaestus_pg.execution.connections import Connections
    from hephaestus_pg.execution.lifecycle import Lifecycle

logger = logging.getLogger("hephaestus_pg")

TIMEOUT = 30.0
"""Seconds that an operation may take, waiting for a connection included."""


@dataclass(slots=True, kw_only=True, eq=False)
class SharedPool:
    """A pool, and what holds for every storage on it."""

    connections: Connections
    is_ours: bool
    """It is to be closed once nobody uses it; otherwise its user does that."""
    timeout: float
    """Seconds that an operation may take at the most: the server has them too."""
    hooks: Sequence[str]
    """The hooks that may give a connection what is one caller's alone."""
    batch_by: BatchBy | None
    can_listen: bool
    """A connection is told of notifications; behind PgBouncer it is not."""
    users: set[Lifecycle] = field(default_factory=set)
    """Those of the storages that use it."""

    def lets_share_statements(self, name: str) -> bool:
        """``True`` if the calls on a storage of that name may; else the log says why not."""
        if not self.hooks or self.batch_by is not None:
            return True
        logger.info(
            "calls on storage %s share no statements, since its pool has hooks (%s); batch_by= "
            "tells which calls may",
            name,
            ", ".join(self.hooks),
        )
        return False

    def leave(self, user: Lifecycle) -> bool:
        """Notes that it is used by one storage less; ``True`` if it is to be closed now."""
        self.users.discard(user)
        return self.is_ours and not self.users


def pool_opener(  # noqa: PLR0913 - each is an option of its own
    dsn: str | None,
    pool: Pool[Any] | None,
    options: dict[str, Any],
    *,
    timeout: float,
    batch_by: BatchBy | None,
    pgbouncer: bool,
    others: Iterable[str],
) -> Callable[[], Awaitable[SharedPool]]:
    """Checks what ``AsyncStorage.start`` was given for its pool; returns what opens that.

    ``options`` are those for a pool of our own; ``others`` are names to suggest for misspelt ones.

    Raises:
        InvalidTypeError: An option does not exist, or its value is of the wrong type.
        InvalidValueError: A value is out of range, or there is a pool and options for one.
    """
    if pool is None:
        checked_pool_options(options, others=others)
        hooks = option_hooks(options)
    else:
        checked_pool(pool, dsn, options)
        hooks = pool_hooks(pool)

    async def opened() -> SharedPool:
        connections: Connections
        if pool is not None:  # the user's own code may wait for it
            connections = PoolConnections(await usable_pool(pool))
        else:
            ours = await open_pool(dsn, timeout=timeout, pgbouncer=pgbouncer, **options)
            # A hook may give each use of a connection what is its own.
            connections = PoolConnections(ours) if hooks else KeptConnections(ours)
        return SharedPool(
            connections=connections,
            is_ours=pool is None,
            timeout=timeout,
            hooks=hooks,
            batch_by=batch_by,
            can_listen=not pgbouncer,
        )

    return opened


def refuse_options(share: object, options: Mapping[str, object]) -> None:
    """Refuses options for a pool where that of another storage is to be shared.

    Raises:
        InvalidValueError: One of them is not ``None``.
    """
    if given := sorted(name for name, value in options.items() if value is not None):
        raise InvalidValueError(
            "share", share, f"{', '.join(given)} would be for a pool of its own: leave it out"
        )
