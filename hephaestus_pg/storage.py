"""``AsyncStorage``: a pool with a name, a schema, and the verbs."""

from __future__ import annotations

import inspect
import logging
import math
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import anyio

from hephaestus_pg import _sql, migrations, registry
from hephaestus_pg._checks import plain_text
from hephaestus_pg.batching.keyed import checked_batch_by
from hephaestus_pg.batching.shards import Shards
from hephaestus_pg.codec.serializer import MAX_STATE_BYTES, Serializer
from hephaestus_pg.driver.connection import checked_connection
from hephaestus_pg.errors import InvalidTypeError
from hephaestus_pg.execution.lifecycle import checked_timeout
from hephaestus_pg.execution.shared_pool import TIMEOUT, pool_opener, refuse_options
from hephaestus_pg.execution.starting import Starting, require_asyncio
from hephaestus_pg.execution.statements import statements_of
from hephaestus_pg.execution.telemetry import executor_maker
from hephaestus_pg.inspect.looking import InspectVerbs
from hephaestus_pg.migrations.usable import check_usable
from hephaestus_pg.runners.ownership import OwnershipVerbs
from hephaestus_pg.values.arguments import checked_flag
from hephaestus_pg.verbs.observers import EVERYTHING
from hephaestus_pg.verbs.transaction import Transaction
from hephaestus_pg.watch.recorders import ConnectionRecorder, Recorder
from hephaestus_pg.watch.watching import WatchVerbs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from contextlib import AbstractContextManager

    from asyncpg import Pool

    from hephaestus_pg.batching.keyed import BatchBy
    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.pool_executor import PoolExecutor
    from hephaestus_pg.execution.telemetry import Telemetry
    from hephaestus_pg.values.references import References
    from hephaestus_pg.watch.news import News

logger = logging.getLogger("hephaestus_pg")

_NOT_STARTED = (
    "the storage is not started yet: write `storage = await AsyncStorage.start(...)`, "
    "or `async with AsyncStorage.start(...) as storage:`"
)


class AsyncStorage(OwnershipVerbs, WatchVerbs, InspectVerbs):
    """Instances in one schema of one database, under a name of its own in this process.

    Made by :meth:`start`. Belongs to the event loop and the process that started it.
    """

    name: str
    """The name under which it is registered."""

    def __init__(self, *given: Any, **_: Any) -> None:
        raise InvalidTypeError(
            "AsyncStorage",
            given[0] if given else None,
            "start one: `storage = await AsyncStorage.start(dsn, ...)`",
        )

    @classmethod
    def start(  # noqa: PLR0913 - each is an option of its own, by keyword
        cls,
        dsn: str | None = None,
        *,
        pool: Pool[Any] | None = None,
        share: AsyncStorage | None = None,
        name: str = "default",
        schema: str = "public",
        references: References | None = None,
        elixir: Collection[str] | None = None,
        batching: bool = True,
        batch_by: BatchBy | None = None,
        max_state_bytes: int = MAX_STATE_BYTES,
        timeout: float | None = None,
        pgbouncer: bool = False,
        telemetry: Telemetry | None = None,
        **pool_options: Any,
    ) -> Starting[Self]:
        """Starts a storage and registers its name: ``await`` it, or enter it with ``async with``.

        A task may be made of it too.

        Args:
            dsn: ``postgresql://…``, with libpq's parameters; of several hosts the primary, unless
                ``target_session_attrs`` says otherwise. Without one, ``HEPHAESTUS_PG_DSN``, else
                the ``PG*`` variables.
            pool: A pool of yours instead. It stays open when the storage closes.
            share: Another started storage instead, whose pool this one uses too, with its hooks and
                its ``batch_by``. A pool of our own closes with the last storage that uses it.
            name: The name under which :meth:`named` finds it.
            schema: The schema that holds the table.
            references: How workflows and steps are named; :class:`LoadedClasses` by default.
            elixir: The atoms that exist in an Elixir application which reads the same table: what
                it could not read is refused, as :class:`Serializer` says.
            batching: Concurrent calls share statements. They do not where the pool has hooks
                (``setup``, ``init``, ``reset``, ``connect``, a ``password`` that is a function, a
                class of its own), since those may give a connection what is one caller's alone.
            batch_by: Which calls may share statements, and which waiters a look: those for which
                this function gives equal values. It is called without arguments, in the context of
                each call; a tenant's id from a ``ContextVar`` is what row-level security needs.
            max_state_bytes: The size that a state's JSON text may have.
            timeout: Seconds that an operation may take at the most, 30 by default. On a pool of our
                own the server ends a statement somewhat before that, so that its outcome is known:
                with ``share`` it may be up to, and is by default, that of the pool's first storage.
            pgbouncer: The DSN leads to PgBouncer in transaction mode: no statement is prepared for
                later, and nothing is set for the session.
            telemetry: Reports spans and metrics: ``hephaestus_pg.otel.OpenTelemetry()``.
            pool_options: For a pool of our own, what ``asyncpg.create_pool`` takes, but ``loop``.

        Raises:
            AlreadyStartedError: The name is taken.
            InvalidValueError: An option is wrong, or the DSN cannot be read.
            SchemaOutdatedError: The schema is missing or too old; it names the command to run.
            MigrationError: Nothing could be written: the table has lost its key, the database is
                not UTF8, or the like; it says what to do.
            DatabaseError: No connection could be had.
            StorageClosedError: The storage whose pool is to be shared is closed.
            WrongEventLoopError: It belongs to another event loop.

        After an error nothing is registered and nothing is open.
        """
        if not isinstance(name, str) or not name:
            raise InvalidTypeError("name", name, "give the storage a name")
        name, schema = plain_text(name), _sql.checked_schema(schema)
        serializer = Serializer(references, max_state_bytes=max_state_bytes, elixir=elixir)
        checked_flag("batching", batching)
        checked_flag("pgbouncer", pgbouncer)
        make_executor = executor_maker(telemetry)
        if batch_by is not None:
            checked_batch_by(batch_by, batching=batching)
        if share is None:
            seconds = checked_timeout(TIMEOUT if timeout is None else timeout, math.inf)
            opened = pool_opener(
                dsn,
                pool,
                pool_options,
                timeout=seconds,
                batch_by=batch_by,
                pgbouncer=pgbouncer,
                others=inspect.signature(cls.start).parameters,
            )
        else:
            if not isinstance(share, AsyncStorage):
                raise InvalidTypeError("share", share, "give a storage: await AsyncStorage.start()")
            own = {"dsn": dsn, "pool": pool, "batch_by": batch_by, "pgbouncer": pgbouncer or None}
            refuse_options(share, own | pool_options)
            other = share._pool_executor  # noqa: SLF001 - its own class
            seconds = checked_timeout(timeout, other.shared.timeout)
            opened = other.lend_pool

        async def started() -> Self:
            require_asyncio(name)
            executor = make_executor(
                await opened(), name=name, schema=schema, batching=batching, timeout=seconds
            )
            return await cls._registered(executor, serializer)

        return Starting(started, cls.close, _NOT_STARTED)

    @classmethod
    async def _registered(cls, executor: PoolExecutor, serializer: Serializer) -> Self:
        storage = cls.__new__(cls)
        OwnershipVerbs.__init__(storage, executor, serializer)
        storage.name = executor.lifecycle.name
        try:
            registry.register(storage.name, storage, executor.lifecycle.loop)
            await storage._check_schema()  # noqa: SLF001 - its own class
        except BaseException:
            with anyio.CancelScope(shield=True):
                await storage.close()
            raise
        return storage

    @classmethod
    def named(cls, name: str = "default") -> AsyncStorage:
        """The started storage of that name. Constant time.

        Raises:
            NotStartedError: There is none; it lists the names that are started.
            WrongEventLoopError: It belongs to another event loop.
        """
        storage = registry.find(name, AsyncStorage)
        storage._pool_executor.lifecycle.require_own_loop()  # noqa: SLF001 - its own class
        return storage

    @asynccontextmanager
    async def transaction(self, *, timeout: float | None = None) -> AsyncIterator[Transaction]:
        """The verbs in one transaction, which commits when the block ends without an error.

        ``transaction.connection`` takes the caller's own statements: they and the instances commit
        or vanish together. Nothing in it is retried, and one task at a time may use it. ``timeout``
        is for its beginning, for each verb in it, and for its end.

        Raises:
            RejectedError: A statement in it failed, and the block caught that: nothing is kept.
        """
        written = Recorder()
        async with self._pool_executor.transaction(timeout) as executor:
            yield Transaction(executor, self._serializer, self._claims, written)
        self._note_committed(written)

    def using(self, connection: AnyConnection) -> Transaction:
        """The verbs on a connection of the caller's own, inside whatever transaction it is in.

        It is asyncpg's; what lies behind SQLAlchemy's has no transaction before its first
        statement. Its codecs do not matter, and nothing is retried. Without a transaction each
        statement commits by itself. Who waits for what it writes looks when the transaction ends.

        Raises:
            InvalidTypeError: It is no connection of asyncpg.
        """
        own = checked_connection(connection)
        written = ConnectionRecorder(own, self._note_committed)
        executor = self._pool_executor.on_connection(own)
        return Transaction(executor, self._serializer, self._claims, written)

    async def migrated_version(self, *, timeout: float | None = None) -> int:
        """The version of the schema, 0 where there is none."""
        return await self._pool_executor.read(
            "migrated_version",
            lambda connection: migrations.migrated_version(
                connection=connection, schema=self.schema
            ),
            timeout,
        )

    def _note_committed(self, written: Recorder) -> None:
        self._claims.wake(has_timer=True)
        super()._note_committed(written)

    def _hearing(self) -> AbstractContextManager[object]:
        return self._listening(self._subscription.work)

    def _hear(self, news: News) -> None:
        super()._hear(news)
        self._pool_executor.wake_ups += 1
        if news.has_work:
            self._claims.wake(has_timer=news.has_timer)

    async def close(self) -> None:
        """Refuses new calls, waits for those under way, frees the name, and closes an own pool.

        Its runners are stopped first; a body that ignores its cancellation has five seconds. A pool
        that others share closes with the last of them.

        After that it waits for the storage's ``timeout`` and half a second at the most; a
        transaction that is still open then loses its connection, unless the pool is yours. Where
        the event loop that started it has been closed before, only the name is left to be freed.
        """
        if self._pool_executor.lifecycle.loop.is_closed():
            registry.unregister(self.name, self)  # whatever was under way ended with its loop
            return
        self._pool_executor.lifecycle.require_own_loop()
        async with AsyncExitStack() as then:
            then.callback(registry.unregister, self.name, self)
            then.push_async_callback(self._pool_executor.close)
            then.push_async_callback(self._stop_watching)
            await self._stop_runners()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):  # as where it is entered as it starts
            await self.close()

    async def _check_schema(self) -> None:
        found = await self._pool_executor.read(
            "check_schema", lambda connection: check_usable(connection, self.schema)
        )
        if found.variants:
            statements = statements_of(self.schema, *found.variants)
            self._pool_executor.statements = self._statements = statements
            self._observers.listened = EVERYTHING
            self._outlet.asks = True  # since what is written there cannot ask who listens
            if statements.is_distributed:
                shards = Shards(self._pool_executor.lowest_hashes)
                await shards.read()
                self._pool_executor.gather_by_shard(shards.of)
        for warning in found.warnings:
            logger.warning("schema %s%s", self.schema, warning)
