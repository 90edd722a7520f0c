"""Work on a connection of a pool, and the same work again, within its deadline.

It is tried again when it surely did not happen or may safely happen twice.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from hephaestus_pg.backend import Backend
from hephaestus_pg.driver_errors import DRIVER_ERRORS, is_lost, translated
from hephaestus_pg.errors import (
    ConflictError,
    DatabaseError,
    OperationTimeoutError,
    RejectedError,
)
from hephaestus_pg.pool import RELEASE_SECONDS
from hephaestus_pg.retry import FIRST_PAUSE, Retries
from hephaestus_pg.session import outdated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpg import Pool
    from asyncpg.pool import PoolConnectionProxy

    from hephaestus_pg.lease import Lease
    from hephaestus_pg.pool import AnyConnection

    Source = Pool[Any] | Lease

Result = TypeVar("Result")

Kind = Literal["read", "overwrite", "change"]
"""What is done: an overwrite, done twice, leaves what once would leave; a change might not."""


class Attempts:
    """Does work on connections of a pool; its statements are those of one ``schema``."""

    def __init__(self, pool: Pool[Any], schema: str) -> None:
        self._pool = pool
        self._schema = schema
        self._loop = asyncio.get_running_loop()

    async def result_of(  # noqa: PLR0913 - each is a setting of its own
        self,
        deadline: float,
        name: str,
        work: Callable[[AnyConnection], Awaitable[Result]],
        *,
        kind: Kind,
        bounded: bool = True,
        source: Source | None = None,
    ) -> Result:
        """What ``work`` gives, done again while that is safe and the deadline lasts.

        A write is not, as long as its earlier try may still be under way on the server.
        ``bounded``: the deadline is that of the work too, not only of its beginning.
        """
        divisible = name.endswith(":gathered")
        retries: Retries | None = None
        while True:
            sent_to: list[Backend] | None = None if kind == "read" else []
            try:
                return await self._once(
                    deadline, work, sent_to, bounded=bounded, source=source or self._pool
                )
            except DatabaseError as error:
                if divisible and isinstance(error, ConflictError) and error.applied == "no":
                    raise  # the batcher divides it, lest one call holds up the others
                if isinstance(error, RejectedError) and error.missing:
                    raise outdated(error, self._schema) from error.__cause__
                divisible = False  # this try may have been applied, which the next must not hide
                if is_lost(error):
                    await self._pool.expire_connections()
                    if sent_to and error.applied == "unknown":
                        error.retryable = await self._ended(deadline, sent_to[0])
                if retries is None:
                    name = f"{name} in schema {self._schema}"
                    retries = Retries(deadline, name, safe_twice=kind != "change")
                if not await retries.another(error):
                    raise

    async def _once(
        self,
        deadline: float,
        work: Callable[[AnyConnection], Awaitable[Result]],
        sent_to: list[Backend] | None,
        *,
        bounded: bool,
        source: Source,
    ) -> Result:
        """What ``work`` gives; ``sent_to`` is told on whose connection it is done."""
        now = self._loop.time()
        if now >= deadline:
            # What is sent too late costs its connection, which is healthy.
            raise OperationTimeoutError(
                "the deadline passed before the statement was sent", applied="no", retryable=True
            )
        connection: PoolConnectionProxy[Any] | None = None
        try:
            async with asyncio.timeout_at(deadline) as limit:
                connection = await source.acquire()
                if sent_to is not None:
                    sent_to.append(Backend.behind(connection, now))
                if not bounded:
                    limit.reschedule(None)
                return await work(connection)
        except DRIVER_ERRORS as error:
            source = self._pool  # nobody keeps what failed
            if isinstance(error, TimeoutError) and connection is not None:
                # Asking to cancel may take for ever on a silent network: MagicStack/asyncpg#1326.
                with suppress(*DRIVER_ERRORS):  # it may be gone already
                    connection.terminate()
            if isinstance(error, DatabaseError):
                raise
            raise translated(error, connecting=connection is None) from error
        finally:
            if connection is not None:
                await released(source.release(connection, timeout=RELEASE_SECONDS))

    async def _ended(self, deadline: float, backend: Backend) -> bool:
        """Whether, by the deadline, that backend is known to be gone, ended by us if need be.

        The server may notice late that a connection broke, and its backend may then carry out what
        it was sent: after a second try, or a look at the row, that would undo what came since.
        """

        async def end(connection: AnyConnection) -> bool | None:
            return await backend.ended(connection, self._schema, self._loop.time())

        try:
            while True:
                ended = await self.result_of(deadline, "end_backend", end, kind="read")
                if ended is not False:
                    return ended is True
                await asyncio.sleep(FIRST_PAUSE)
        except DatabaseError:
            return False


async def released(release: Awaitable[None]) -> None:
    """Wait for the ``release`` of a connection, whatever comes of it.

    asyncpg gives up what does not come to rest in time; the statement's own result counts.
    """
    try:  # noqa: SIM105 - on the way of every statement
        await release
    except DRIVER_ERRORS:
        pass
