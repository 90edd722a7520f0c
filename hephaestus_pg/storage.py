"""``AsyncStorage``: a pool with a name, a schema, and the verbs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Self

import anyio

from hephaestus_pg import migrations, registry
from hephaestus_pg.errors import (
    InvalidTypeError,
    SchemaOutdatedError,
    StorageClosedError,
    WrongEventLoopError,
)
from hephaestus_pg.pool import Database, open_database
from hephaestus_pg.serializer import MAX_STATE_BYTES, Serializer
from hephaestus_pg.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Sequence
    from types import TracebackType

    from asyncpg import Pool, Record

    from hephaestus_pg.references import References

logger = logging.getLogger("hephaestus_pg")


class AsyncStorage(Verbs):
    """Instances in one schema of one database, under a name of its own in this process.

    Made by :meth:`start`. Belongs to the event loop and the process that started it.
    """

    def __init__(self, database: Database, serializer: Serializer, *, name: str) -> None:
        super().__init__(self, serializer)
        self._database = database
        self._gate = _Gate(name)

    @property
    def name(self) -> str:
        """The name under which :meth:`named` finds it."""
        return self._gate.name

    @property
    def schema(self) -> str:
        """The schema that holds the table."""
        return self._database.schema

    @classmethod
    def start(  # noqa: PLR0913 - each is an option of its own, by keyword
        cls,
        dsn: str | None = None,
        *,
        pool: Pool[Any] | None = None,
        name: str = "default",
        schema: str = "public",
        references: References | None = None,
        batching: bool = True,
        max_state_bytes: int = MAX_STATE_BYTES,
        **pool_options: Any,
    ) -> _Starting:
        """Start a storage and register its name: ``await`` it, or enter it with ``async with``.

        Args:
            dsn: Given to asyncpg as it is; without one, ``HEPHAESTUS_PG_DSN``, else the ``PG*``
                variables.
            pool: A pool of yours instead. It stays open when the storage closes.
            name: The name under which :meth:`named` finds it.
            schema: The schema that holds the table.
            references: How workflows and steps are named; :class:`LoadedClasses` by default.
            batching: Concurrent calls share statements.
            max_state_bytes: The size that a state's JSON text may have.
            pool_options: For a pool of our own, whatever ``asyncpg.create_pool`` takes.

        Raises:
            AlreadyStartedError: The name is taken.
            SchemaOutdatedError: The schema is missing or too old; it names the command to run.
            DatabaseError: No connection could be had.

        After an error nothing is registered and nothing is open.
        """
        if not isinstance(name, str) or not name:
            raise InvalidTypeError("name", name, "give the storage a name")
        serializer = Serializer(references, max_state_bytes=max_state_bytes)

        async def started() -> AsyncStorage:
            storage: AsyncStorage | None = None
            database = await open_database(dsn, pool, schema=schema, **pool_options)
            try:
                storage = cls(database, serializer, name=name)
                registry.register(name, storage)
                await storage._check_schema()
            except BaseException:
                registry.unregister(name, storage)
                with anyio.CancelScope(shield=True):
                    await database.close()
                raise
            return storage

        return _Starting(started())

    @classmethod
    def named(cls, name: str = "default") -> AsyncStorage:
        """The started storage of that name. Constant time.

        Raises:
            NotStartedError: There is none; it lists the names that are started.
            WrongEventLoopError: It belongs to another event loop.
        """
        storage = registry.find(name, AsyncStorage)
        storage._gate.require_own_loop()  # noqa: SLF001 - its own class
        return storage

    async def migrated_version(self) -> int:
        """The version of the schema, 0 where there is none."""
        with self._gate:
            async with self._database.connection() as connection:
                return await migrations.migrated_version(connection=connection, schema=self.schema)

    async def close(self) -> None:
        """Refuse new calls, wait for those under way, free the name, and close an own pool."""
        await self._gate.close()
        registry.unregister(self.name, self)
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Record]:
        """Run a statement of ``sql/queries`` in this storage's schema; the verbs rest on it."""
        with self._gate:
            return await self._database.fetch(statement, *arguments)

    async def _check_schema(self) -> None:
        found, needed = await self.migrated_version(), migrations.LATEST
        if found < needed:
            raise SchemaOutdatedError(self.schema, found=found, needed=needed)
        if found > needed:
            logger.warning(
                "schema %s is at version %d, newer than the %d that this version of hephaestus_pg "
                "knows; it works on, but upgrade it soon",
                self.schema,
                found,
                needed,
            )


class _Gate:
    """Counts the calls under way, and lets none in from elsewhere or after the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._closed = False
        self._empty = anyio.Event()

    def require_own_loop(self) -> None:
        """Refuse a call from another event loop; one from outside any loop changes nothing."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if running is not self._loop:
            raise WrongEventLoopError(self.name, "another event loop")

    def __enter__(self) -> None:
        self.require_own_loop()
        if self._closed:
            raise StorageClosedError(self.name)
        self._under_way += 1

    def __exit__(self, *_: object) -> None:
        self._under_way -= 1
        if self._closed and not self._under_way:
            self._empty.set()

    async def close(self) -> None:
        """Let nobody in any more, and wait until all are out."""
        self.require_own_loop()
        self._closed = True
        if self._under_way:
            await self._empty.wait()


class _Starting:
    """A storage about to start: awaited it is the storage, entered it is closed at the end."""

    def __init__(self, started: Coroutine[Any, Any, AsyncStorage]) -> None:
        self._started = started
        self._storage: AsyncStorage | None = None

    def __await__(self) -> Generator[Any, Any, AsyncStorage]:
        return self._started.__await__()

    async def __aenter__(self) -> AsyncStorage:
        self._storage = await self._started
        return self._storage

    async def __aexit__(self, *_: object) -> None:
        if self._storage is not None:
            await self._storage.close()
