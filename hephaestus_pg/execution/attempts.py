"""Work on a connection of a pool, and the same work again, within its deadline.

It is tried again when it surely did not happen or may safely happen twice.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from hephaestus_pg.driver.connection import RELEASE_SECONDS, terminate
from hephaestus_pg.driver.errors import DRIVER_ERRORS, should_reset_pool
from hephaestus_pg.driver.hooks import cancel_requested, translate_any
from hephaestus_pg.errors import (
    ConflictError,
    DatabaseError,
    OperationTimeoutError,
    RejectedError,
)
from hephaestus_pg.execution.connection_executor import outdated
from hephaestus_pg.execution.fencing import Backend
from hephaestus_pg.execution.retrying import FIRST_PAUSE, Retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpg import Pool
    from asyncpg.pool import PoolConnectionProxy

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.pinned import Lease

    Source = Pool[Any] | Lease

Result = TypeVar("Result")

logger = logging.getLogger("hephaestus_pg")

Kind = Literal["read", "overwrite", "change"]
"""What is done: an overwrite, done twice, leaves what once would leave; a change might not."""


# One row may be the cause: a trigger or an index of the user's may refuse it with any code.
_REFUSALS = (ConflictError, RejectedError)


def _forgot_statements(error: BaseException | None) -> bool:
    """Whether a session has lost its prepared statements, as by ``DISCARD ALL``: nothing was done.

    The driver does not notice. So the connection is given up, and the call tried on another, once:
    behind PgBouncer without ``pgbouncer=True`` that would go on for ever.
    """
    return getattr(error, "sqlstate", None) == "26000"


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
                if isinstance(error, RejectedError) and error.missing:
                    raise outdated(error, self._schema) from error.__cause__
                if divisible and isinstance(error, _REFUSALS) and error.applied == "no":
                    raise  # the batcher divides it, lest one call holds up the others
                divisible = False  # this try may have been applied, which the next must not hide
                if retries is None and _forgot_statements(error.__cause__):
                    error.retryable = True
                if should_reset_pool(error):
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
        except BaseException as error:
            source = self._pool  # nobody keeps what failed
            if connection is not None and (
                isinstance(error, TimeoutError) or _forgot_statements(error)
            ):
                # Asking to cancel may take for ever on a silent network: MagicStack/asyncpg#1326.
                terminate(connection)
            if (ours := translate_any(error, connection)) is error:
                raise
            raise ours from error
        finally:
            if connection is not None:
                await released(source, connection)

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


async def released(source: Source, connection: PoolConnectionProxy[Any]) -> None:
    """Give the ``connection`` back, whatever comes of it: its statement's own result counts."""
    try:
        await source.release(connection, timeout=RELEASE_SECONDS)
    except DRIVER_ERRORS:
        pass  # asyncpg gives up what does not come to rest in time
    except BaseException as error:
        # The driver releases it in a task of its own, which goes on, unless that was cancelled as
        # well, before it began: then nobody else gives it back.
        asyncio.get_running_loop().call_later(2 * RELEASE_SECONDS, terminate, connection)
        if isinstance(error, Exception):
            logger.exception("the pool's reset hook raised; its connection is closed")
        elif cancel_requested() or not isinstance(error, asyncio.CancelledError):
            raise
