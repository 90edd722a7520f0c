"""Starts that were not meant so, and names of storages whose event loop has ended."""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import TYPE_CHECKING, Any

import anyio
import asyncpg
import pytest

from hephaestus_pg import (
    AlreadyStartedError,
    AsyncStorage,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    LifecycleError,
    LoadedClasses,
    NamedClasses,
    Names,
    NotStartedError,
    SchemaOutdatedError,
    Serializer,
    WrongEventLoopError,
    migrations,
    registry,
)
from hephaestus_pg.execution.starting import Starting
from tests.support.catalog import WAIT_SECONDS
from tests.support.faults import pool_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick

NAME = "left_behind"


async def test_what_was_entered_ends_though_a_scope_of_anyios_is_cancelled() -> None:
    ended: list[str] = []

    async def start() -> str:
        return "it"

    async def end(it: str) -> None:
        await anyio.sleep(0.001)
        ended.append(it)

    with anyio.CancelScope() as scope:
        async with Starting(start, end, "not started"):
            scope.cancel()
    assert ended == ["it"]


@pytest.fixture
def left_behind(dsn: str, schema: str) -> Iterator[AsyncStorage]:
    """A storage of a program that crashed before it closed it."""

    async def crashed() -> AsyncStorage:
        await migrations.up(dsn, schema=schema)
        storage = await AsyncStorage.start(
            dsn, name=NAME, schema=schema, references=Names(), max_size=1
        )
        pool_of(storage).terminate()  # or its socket would be a warning in some later test
        return storage

    storage = asyncio.run(crashed())
    yield storage
    registry.unregister(NAME, storage)


def test_the_name_of_a_storage_whose_loop_is_closed_is_free(
    left_behind: AsyncStorage, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def again() -> None:
        assert registry.names() == []
        with pytest.raises(NotStartedError):
            AsyncStorage.named(NAME)
        async with AsyncStorage.start(
            dsn, name=NAME, schema=left_behind.schema, references=Names()
        ) as storage:
            await storage.put(Instance.new("Order", {}, id="order::1"))
            assert AsyncStorage.named(NAME) is storage
            with pytest.raises(AlreadyStartedError):
                await AsyncStorage.start(dsn, name=NAME, schema=left_behind.schema)

    with caplog.at_level(logging.WARNING, logger="hephaestus_pg"):
        asyncio.run(again())
    assert "its connections were not closed" in caplog.text


def test_closing_a_storage_whose_loop_is_closed_frees_its_name(left_behind: AsyncStorage) -> None:
    async def again() -> None:
        with pytest.raises(WrongEventLoopError):
            await left_behind.get("order::1")
        await left_behind.close()
        await left_behind.close()

    asyncio.run(again())
    assert registry.names() == []


async def test_a_storage_of_a_loop_that_lives_keeps_its_name(
    storage: AsyncStorage, dsn: str
) -> None:
    def in_a_thread() -> None:
        with pytest.raises(WrongEventLoopError):
            AsyncStorage.named(storage.name)

    def elsewhere() -> None:
        async def again() -> None:
            with pytest.raises(AlreadyStartedError):
                await AsyncStorage.start(dsn, name=storage.name, schema=storage.schema)
            in_a_thread()

        asyncio.run(again())

    await asyncio.to_thread(elsewhere)


async def test_names_that_are_members_of_an_enum_of_texts_are_the_texts(
    dsn: str, schema: str
) -> None:
    class Tenant(str, Enum):  # noqa: UP042 - of which f"{Tenant.ACME}" is not the text
        ACME = schema
        NAME = f"storage of {schema}"
        PROFILE = "none"

    made = await migrations.up(dsn, schema=Tenant.ACME)
    assert repr(made.schema) == repr(schema)
    with pytest.raises(SchemaOutdatedError, match=f"--schema {schema}"):
        await migrations.down(dsn, schema=Tenant.ACME, version=3)
        await migrations.index(dsn, schema=Tenant.ACME, profile="full")
    await migrations.up(dsn, schema=Tenant.ACME)
    profile: Any = Tenant.PROFILE
    await migrations.index(dsn, schema=Tenant.ACME, profile=profile)
    status = await migrations.status(dsn, schema=Tenant.ACME)
    assert repr((status.schema, status.index)) == repr((schema, "none"))
    async with AsyncStorage.start(
        dsn, name=Tenant.NAME, schema=Tenant.ACME, references=Names()
    ) as storage:
        assert repr((storage.name, storage.schema)) == repr((Tenant.NAME.value, schema))
        put = await storage.put(Instance.new("Order", {}, id="x"))
        assert await storage.get("x") == put
        async with storage.runner(workflows=["Order"]) as runner:
            assert await runner.claim("x") is not None


class TestTasks:
    """A start is a coroutine for whatever takes one."""

    async def test_it_may_be_given_to_a_task_a_group_or_another_threads_loop(
        self, dsn: str, migrated: str
    ) -> None:
        loop = asyncio.get_running_loop()

        def start(name: str) -> Starting[AsyncStorage]:
            return AsyncStorage.start(
                dsn, name=f"{NAME}_{name}", schema=migrated, references=Names()
            )

        def elsewhere() -> AsyncStorage:
            return asyncio.run_coroutine_threadsafe(start("thread"), loop).result(WAIT_SECONDS)

        async with asyncio.TaskGroup() as group:
            grouped = group.create_task(start("group"))
        started = [
            grouped.result(),
            await asyncio.create_task(start("task")),
            await asyncio.to_thread(elsewhere),
        ]
        for storage in started:
            assert await storage.count() == 0
            runner = await asyncio.create_task(storage.runner(workflows=["Order"]))
            await runner.stop()
            await storage.close()

    def test_it_may_be_all_that_a_loop_runs(self, dsn: str, migrated: str) -> None:
        with asyncio.Runner() as runner:
            storage = runner.run(AsyncStorage.start(dsn, name=NAME, schema=migrated))
            assert runner.run(storage.count()) == 0
            runner.run(storage.close())

    async def test_a_task_of_it_that_is_cancelled_leaves_nothing(
        self, dsn: str, migrated: str
    ) -> None:
        task = asyncio.create_task(AsyncStorage.start(dsn, name=NAME, schema=migrated))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(NotStartedError):
            AsyncStorage.named(NAME)

    def test_one_that_has_not_begun_may_be_closed(self, dsn: str) -> None:
        AsyncStorage.start(dsn).close()


class TestRefusals:
    async def test_a_forgotten_await_says_what_to_write(self, dsn: str) -> None:
        forgotten: Any = AsyncStorage.start(dsn)
        with pytest.raises(AttributeError, match="await AsyncStorage.start"):
            await forgotten.get("order::1")
        with pytest.raises(TypeError, match="async with AsyncStorage.start"), forgotten:
            pass

    def test_a_start_outside_asyncio_is_refused(self, dsn: str) -> None:
        """As under trio, which drives the coroutine itself."""
        with pytest.raises(LifecycleError, match="backend='asyncio'"):
            next(AsyncStorage.start(dsn).__await__())

    async def test_a_storage_made_by_hand_is_refused(self, dsn: str) -> None:
        make: Any = AsyncStorage
        for arguments, options in (((dsn,), {}), ((), {}), ((dsn,), {"schema": "tenant_a"})):
            with pytest.raises(InvalidTypeError, match="await AsyncStorage.start") as caught:
                make(*arguments, **options)
            assert "secret" not in str(caught.value)

    async def test_a_start_may_be_awaited_again_after_a_failure(
        self, dsn: str, migrated: str
    ) -> None:
        first = await AsyncStorage.start(dsn, name=NAME, schema=migrated)
        second = AsyncStorage.start(dsn, name=NAME, schema=migrated)
        with pytest.raises(AlreadyStartedError):
            await second
        await first.close()
        await (await second).close()

    @pytest.mark.parametrize(
        "pool", (5, "postgresql://", asyncpg.Pool, object(), {"max_size": 1}), ids=range(5)
    )
    async def test_what_is_no_pool_is_refused(self, pool: Any) -> None:
        with pytest.raises(InvalidTypeError, match=r"asyncpg\.create_pool"):
            AsyncStorage.start(pool=pool)

    async def test_a_connection_given_as_a_pool_says_what_to_use(self, dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        with pytest.raises(InvalidTypeError, match=r"storage\.using"):
            AsyncStorage.start(pool=connection)  # type: ignore[arg-type]
        await connection.close()

    async def test_a_pool_that_is_not_open_yet_is_refused(self, dsn: str) -> None:
        pool = asyncpg.create_pool(dsn, min_size=0)
        with pytest.raises(InvalidValueError, match="await it first"):
            await AsyncStorage.start(pool=pool)

    async def test_a_pool_of_another_loop_is_refused(self, pool: Pool, migrated: str) -> None:
        def elsewhere() -> None:
            async def main() -> None:
                with pytest.raises(InvalidValueError, match="event loop that uses it"):
                    await AsyncStorage.start(pool=pool, name=NAME, schema=migrated)

            asyncio.run(main())

        await asyncio.to_thread(elsewhere)

    @pytest.mark.parametrize(
        ("references", "advice"),
        (
            (Names, r"make one of it: Names\(\.\.\.\)"),
            (LoadedClasses, "make one of it: LoadedClasses"),
            ({"order": Instance}, "NamedClasses"),
            ("Names", "LoadedClasses"),
            (5, "LoadedClasses"),
            (Instance, "make one of it"),
        ),
    )
    async def test_references_that_translate_nothing_are_refused(
        self, references: Any, advice: str
    ) -> None:
        with pytest.raises(InvalidTypeError, match=advice):
            AsyncStorage.start("postgresql://", references=references)
        with pytest.raises(InvalidTypeError, match="references"):
            Serializer(references)

    async def test_references_of_the_callers_own_are_taken(self) -> None:
        class Own:
            def to_name(self, reference: Any) -> str:
                return str(reference)

            def to_reference(self, name: str) -> Any:
                return name

        for references in (Own(), NamedClasses({}), Names(), None):
            Serializer(references)

    @pytest.mark.parametrize("flag", ("batching", "pgbouncer"))
    @pytest.mark.parametrize("value", (None, 0, 1, "no", "false"))
    async def test_flags_that_are_no_booleans_are_refused(self, flag: str, value: Any) -> None:
        options: Any = {flag: value}
        with pytest.raises(InvalidTypeError, match=flag):
            AsyncStorage.start("postgresql://", **options)
