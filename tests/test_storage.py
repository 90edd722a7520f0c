from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    CorruptInstanceError,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    Names,
    NotStartedError,
    SchemaOutdatedError,
    SerializationError,
    Status,
    StorageClosedError,
    UnavailableError,
    WrongEventLoopError,
    migrations,
    registry,
)
from tests.support.catalog import MOMENT, WAIT_SECONDS
from tests.support.rows import CLASSES, COLUMNS, ROWS, Order
from tests.values.test_references import Charge

if TYPE_CHECKING:
    import asyncpg

    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


def order(id: str = "orderid::1", **fields: Any) -> Instance:
    return replace(Instance.new("Order", {"order_id": 1}, id=id), **fields)


class TestPutAndGet:
    async def test_an_instance_is_stored_and_read(self, storage: AsyncStorage) -> None:
        instance = order(status=Status.RUNNING, context=Context({"a": [1, None, "ü"]}, {"s": {}}))

        await storage.put(instance)

        assert await storage.get(instance.id) == instance

    async def test_an_id_without_a_row_gives_none(self, storage: AsyncStorage) -> None:
        assert await storage.get("orderid::none") is None

    async def test_a_put_gives_back_what_a_get_would(self, storage: AsyncStorage) -> None:
        stored = await storage.put(order(context=Context({"t": (1,)}), runtime_metadata={"n": 1}))
        read = await storage.get(stored.id)

        assert stored == read
        assert read is not None
        for field in ("revision", "inserted_at", "updated_at", "workflow_version"):
            assert getattr(stored, field) == getattr(read, field)

    async def test_moments_are_aware_whole_seconds_not_in_the_future(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        stored = await storage.put(order())
        now = (await pool.fetchval("SELECT now()")).astimezone(UTC)

        assert stored.inserted_at is not None
        assert stored.updated_at == stored.inserted_at
        assert stored.inserted_at.tzinfo is UTC
        assert stored.inserted_at.microsecond == 0
        assert now - timedelta(seconds=60) < stored.inserted_at <= now

    async def test_a_second_put_replaces_all_but_version_and_insertion(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        first = await storage.put(order(workflow_version=5))
        long_ago = datetime(2020, 1, 1)  # noqa: DTZ001 - the column has no zone
        await pool.execute(
            f"UPDATE {storage.schema}.workflow_instances SET inserted_at = $1, updated_at = $1",
            long_ago,
        )

        second = await storage.put(
            replace(first, workflow="Other", workflow_version=99, status=Status.FAILED)
        )

        assert second == await storage.get(first.id)
        assert second.workflow == "Other"
        assert second.status is Status.FAILED
        assert second.workflow_version == 5
        assert second.inserted_at == long_ago.replace(tzinfo=UTC)
        assert second.updated_at is not None
        assert first.updated_at is not None
        assert second.updated_at >= first.updated_at

    async def test_the_revision_grows_by_one_at_each_put(self, storage: AsyncStorage) -> None:
        revisions = [(await storage.put(order())).revision for _ in range(3)]

        first = revisions[0] or 0
        assert first > MOMENT
        assert revisions == [first, first + 1, first + 2]

    async def test_the_last_writer_wins(self, storage: AsyncStorage) -> None:
        first = await storage.put(order())
        await storage.put(replace(first, status=Status.RUNNING))
        await storage.put(replace(first, status=Status.WAITING))

        read = await storage.get(first.id)
        assert read is not None
        assert read.status is Status.WAITING

    async def test_different_instances_are_put_in_parallel(self, storage: AsyncStorage) -> None:
        instances = [order(f"orderid::{n}") for n in range(50)]

        stored = await asyncio.gather(*map(storage.put, instances))

        assert stored == instances
        assert await asyncio.gather(*(storage.get(i.id) for i in instances)) == instances

    async def test_an_instance_is_never_missing_while_it_is_written(
        self, storage: AsyncStorage
    ) -> None:
        await storage.put(order())

        async def write() -> None:
            for n in range(30):
                await storage.put(order(status=Status.RUNNING if n % 2 else Status.PENDING))

        async def read() -> None:
            for _ in range(60):
                found = await storage.get("orderid::1")
                assert found is not None
                assert found.status in {Status.RUNNING, Status.PENDING}

        await asyncio.gather(write(), read())

    @pytest.mark.parametrize(
        "id", ("x" * 255, "x" * 254 + " ", " ", "ä𝄞" * 100, "'; DROP TABLE x; --", "a\\b", "%_")
    )
    async def test_any_storable_id_is_kept_exactly(self, storage: AsyncStorage, id: str) -> None:
        await storage.put(order(id))

        read = await storage.get(id)
        assert read is not None
        assert read.id == id
        assert id.strip() == id or await storage.get(id.strip() or "-") is None

    @pytest.mark.parametrize("id", ("", "x" * 256, "a\0", "\ud800"))
    async def test_an_id_that_no_row_can_have_is_refused(
        self, storage: AsyncStorage, id: str
    ) -> None:
        for call in (storage.get, storage.delete):
            with pytest.raises(InvalidValueError, match="^id is "):
                await call(id)
        with pytest.raises(InvalidTypeError):
            await storage.get(None)  # type: ignore[arg-type]

    async def test_a_refused_instance_leaves_the_row_as_it_was(self, storage: AsyncStorage) -> None:
        stored = await storage.put(order())

        with pytest.raises(SerializationError, match=r"context\.initial\.x"):
            await storage.put(replace(stored, context=Context({"x": float("nan")})))
        with pytest.raises(InvalidTypeError):
            await storage.put({"id": "x"})  # type: ignore[arg-type]

        read = await storage.get(stored.id)
        assert read == stored
        assert read.revision == stored.revision


class TestSharingWithTheOriginal:
    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
    async def test_its_rows_are_read_and_written_back_equal(
        self, start: Start, migrated: str, pool: Pool, row: dict[str, Any]
    ) -> None:
        table = f"{migrated}.workflow_instances"
        await pool.execute(
            f"INSERT INTO {table} (id, workflow, status, workflow_version, state, inserted_at,"
            " updated_at) SELECT id, workflow, status, workflow_version, state, now(), now()"
            f" FROM jsonb_populate_record(null::{table}, $1::text::jsonb)",
            json.dumps(row),
        )
        before = await pool.fetchrow(f"SELECT {', '.join(COLUMNS)} FROM {table}")

        async with start(references=CLASSES) as storage:
            instance = await storage.get(row["id"])
            assert instance is not None
            assert (instance.revision or 0) > MOMENT
            await storage.put(instance)

        same = f"SELECT state = $1::text::jsonb FROM {table}"
        assert before is not None
        assert await pool.fetchval(same, before["state"])
        after = await pool.fetchrow(f"SELECT {', '.join(COLUMNS)} FROM {table}")
        assert after == before

    async def test_its_statements_go_on_working_beside_ours(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        # As Ecto writes it: no revision, moments and ids of its own.
        upsert = (
            f'INSERT INTO {storage.schema}.workflow_instances AS w0 ("id","state","status",'
            '"workflow","workflow_version","inserted_at","updated_at")'
            " VALUES ($1,$2,$3,$4,$5,now(),now()) ON CONFLICT (id) DO UPDATE SET"
            " workflow = EXCLUDED.workflow, status = EXCLUDED.status, state = EXCLUDED.state,"
            " updated_at = EXCLUDED.updated_at"
        )
        row = ROWS[0]
        await pool.execute(upsert, "x::1", "{}", "pending", row["workflow"], 1)
        instance = await storage.get("x::1")
        assert instance is not None
        ours = await storage.put(replace(instance, status=Status.RUNNING))
        await pool.execute(upsert, "x::1", "{}", "waiting", row["workflow"], 1)

        after = await storage.get("x::1")
        assert after is not None
        assert after.status is Status.WAITING
        assert after.revision == (ours.revision or 0) + 1


class TestDelete:
    async def test_a_deleted_instance_is_gone(self, storage: AsyncStorage) -> None:
        await storage.put(order())

        assert await storage.delete("orderid::1") is True
        assert await storage.get("orderid::1") is None

    async def test_deleting_again_is_false_and_no_error(self, storage: AsyncStorage) -> None:
        assert await storage.delete("orderid::1") is False

    async def test_of_many_deletes_at_once_one_is_true(self, storage: AsyncStorage) -> None:
        await storage.put(order())

        deleted = await asyncio.gather(*(storage.delete("orderid::1") for _ in range(20)))

        assert sorted(deleted) == [False] * 19 + [True]


class TestReferences:
    async def test_classes_are_stored_under_their_names(self, start: Start) -> None:
        async with start(references=None) as storage:
            await storage.put(Instance.new(Order, {}, id="x"))
            read = await storage.get("x")

            assert read is not None
            assert read.workflow is Order
            [found] = await storage.query(workflow=Order)
            assert found == read

    @pytest.mark.parametrize(
        ("name", "found"),
        (
            ("os.system", None),
            ("subprocess.Popen", subprocess.Popen),  # a class, imported: that is all it asks
            ("builtins.eval", None),
            ("antigravity.Anything", None),
            ("hephaestus_pg.storage.logger", None),
            ("tests.support.rows.CLASSES", None),
            ("tests.values.test_references.Charge.Inner", Charge.Inner),
            ("no.such.Module", None),
        ),
    )
    async def test_what_a_name_in_a_row_becomes(
        self, start: Start, storage: AsyncStorage, name: str, found: type | None
    ) -> None:
        await storage.put(order(workflow=name, current_step=name, active_steps=frozenset({name})))

        async with (
            start(references=None) as loaded,
            start(references=CLASSES) as named,
        ):
            if found is None:
                with pytest.raises(CorruptInstanceError, match="orderid::1"):
                    await loaded.get("orderid::1")
            else:
                read = await loaded.get("orderid::1")
                assert read is not None
                assert (read.workflow, read.current_step) == (found, found)
            with pytest.raises(CorruptInstanceError, match="orderid::1"):
                await named.get("orderid::1")
        text = await storage.get("orderid::1")
        assert text is not None
        assert text.workflow == name
        assert "antigravity" not in sys.modules

    async def test_a_status_or_state_that_others_broke_is_corrupt(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        for number, (column, value) in enumerate(
            [("status", "'paused'"), ("state", "'[]'"), ("state", f"'{'[' * 300 + ']' * 300}'")]
        ):
            id = f"x::{number}"
            await storage.put(order(id))
            await pool.execute(
                f"UPDATE {storage.schema}.workflow_instances SET {column} = {value} WHERE id = $1",
                id,
            )
            with pytest.raises(CorruptInstanceError, match=id):
                await storage.get(id)


class TestLife:
    async def test_awaited_or_entered_it_is_the_same_storage(self, dsn: str, migrated: str) -> None:
        storage = await AsyncStorage.start(dsn, name=migrated, schema=migrated)
        async with storage as entered:
            assert entered is storage
        with pytest.raises(NotStartedError):
            AsyncStorage.named(migrated)
        with pytest.raises(StorageClosedError, match=migrated):
            await storage.get("x")
        await storage.close()

    async def test_closing_waits_for_what_is_under_way(
        self, start: Start, migrated: str, pool: Pool
    ) -> None:
        storage = await start(max_size=1)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"LOCK {migrated}.workflow_instances")
            put = asyncio.create_task(storage.put(order()))
            await _blocked(pool, migrated)
            closing = asyncio.create_task(storage.close())
            await asyncio.sleep(0)
            with pytest.raises(StorageClosedError):
                await storage.get("orderid::1")
            assert not closing.done()
        await closing

        assert ((await put).revision or 0) > MOMENT

    async def test_a_callers_pool_stays_open(self, start: Start, pool: Pool) -> None:
        async with start(pool=pool):
            pass

        assert await pool.fetchval("SELECT 1") == 1

    async def test_a_dsn_and_a_pool_or_options_beside_a_pool_are_refused(
        self, dsn: str, pool: Pool
    ) -> None:
        with pytest.raises(InvalidValueError, match="not both"):
            await AsyncStorage.start(dsn, pool=pool)
        with pytest.raises(InvalidValueError, match="max_size"):
            await AsyncStorage.start(pool=pool, max_size=3)

    async def test_the_dsn_may_come_from_the_environment(
        self, dsn: str, migrated: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HEPHAESTUS_PG_DSN", dsn)
        async with AsyncStorage.start(name=migrated, schema=migrated) as storage:
            assert await storage.get("x") is None

    async def test_the_dsn_may_come_from_the_usual_variables(
        self, migrated: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("HEPHAESTUS_PG_DSN", raising=False)
        async with pool.acquire() as connection:
            host, port = connection._con._addr  # type: ignore[attr-defined]
            given = connection._con._params  # type: ignore[attr-defined]
        for variable, value in {
            "PGHOST": host,
            "PGPORT": str(port),
            "PGUSER": given.user,
            "PGDATABASE": given.database,
            "PGPASSWORD": given.password or "",
        }.items():
            monkeypatch.setenv(variable, value)

        async with AsyncStorage.start(name=migrated, schema=migrated) as storage:
            assert await storage.get("x") is None

    @pytest.mark.parametrize("name", ("", None, 3))
    async def test_a_name_that_is_no_text_is_refused(self, dsn: str, name: Any) -> None:
        with pytest.raises(InvalidTypeError, match="name"):
            await AsyncStorage.start(dsn, name=name)

    @pytest.mark.parametrize(
        "schema", ("Public", "a-b", "a b", 'a"b', "1a", "", "a\n", "x" * 64, "ä", "a;b", None)
    )
    async def test_a_schema_that_would_need_quoting_is_refused(self, dsn: str, schema: Any) -> None:
        with pytest.raises(InvalidValueError, match="^schema is "):
            await AsyncStorage.start(dsn, name="bad schema", schema=schema)
        assert "bad schema" not in registry.names()

    def test_a_second_event_loop_is_told_so(self, dsn: str) -> None:
        asyncio.run(migrations.up(dsn, schema="second_loop"))
        with asyncio.Runner() as first, asyncio.Runner() as second:

            async def start() -> AsyncStorage:
                return await AsyncStorage.start(dsn, name="loop", schema="second_loop")

            async def find() -> AsyncStorage:
                return AsyncStorage.named("loop")

            storage = first.run(start())
            try:
                with pytest.raises(WrongEventLoopError, match="another event loop"):
                    second.run(find())
                with pytest.raises(WrongEventLoopError):
                    second.run(storage.get("x"))
                with pytest.raises(WrongEventLoopError):
                    second.run(storage.close())
                assert AsyncStorage.named("loop") is storage  # no loop runs: nothing to refuse
                assert first.run(storage.get("x")) is None
            finally:
                first.run(storage.close())

    async def test_starting_without_a_server_leaves_nothing(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            with pytest.raises(UnavailableError, match="check the DSN") as error:
                await AsyncStorage.start("postgresql://u:secret@127.0.0.1:1/db", name="gone")
            gc.collect()

        assert "secret" not in str(error.value)
        assert error.value.applied == "no"
        assert "gone" not in registry.names()
        assert not caught

    @pytest.mark.parametrize(
        "dsn",
        (
            "postgresql://user:secret@[bad",
            "postgresql://user:secret@host:port/db",
            "postgresql://user:se#secret@127.0.0.1:1/db",
            "mysql://user:secret@host/db",
            "host=127.0.0.1 password=secret",
        ),
    )
    async def test_a_dsn_that_cannot_be_read_is_named_without_its_password(
        self, dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(InvalidValueError, match="^dsn is ") as error:
            await AsyncStorage.start(dsn, name="unread")
        assert "secret" not in f"{error.value} {error.value.value}"

        monkeypatch.setenv("HEPHAESTUS_PG_DSN", dsn)
        with pytest.raises(InvalidValueError, match="^dsn is ") as error:
            await AsyncStorage.start(name="unread")
        assert "secret" not in f"{error.value} {error.value.value}"
        assert "unread" not in registry.names()


class TestSchema:
    async def test_a_schema_without_a_table_is_outdated(
        self, dsn: str, schema: str, pool: Pool
    ) -> None:
        with pytest.raises(SchemaOutdatedError) as caught:
            await AsyncStorage.start(dsn, name=schema, schema=schema)

        error = caught.value
        assert (error.schema, error.found, error.needed) == (schema, 0, migrations.LATEST)
        assert error.command == f"python -m hephaestus_pg.migrate up --schema {schema}"
        assert error.command in str(error)
        assert schema not in registry.names()
        assert await _connections(pool, "hephaestus-outdated") == 0

    async def test_a_failed_start_closes_its_pool(self, dsn: str, schema: str, pool: Pool) -> None:
        with pytest.raises(SchemaOutdatedError):
            await AsyncStorage.start(
                dsn, schema=schema, server_settings={"application_name": "failed-start"}
            )

        assert await _connections(pool, "failed-start") == 0

    async def test_an_older_schema_is_outdated_too(self, dsn: str, schema: str) -> None:
        await migrations.up(dsn, schema=schema, version=2)

        with pytest.raises(SchemaOutdatedError, match="is at version 2"):
            await AsyncStorage.start(dsn, name=schema, schema=schema)

    async def test_a_newer_schema_works_with_a_warning(
        self, start: Start, migrated: str, pool: Pool, caplog: pytest.LogCaptureFixture
    ) -> None:
        await pool.execute(f"""
            INSERT INTO {migrated}.hephaestus_pg_migrations (version, name, checksum)
            VALUES (99, 'later', '')
        """)

        async with start() as storage:
            assert await storage.get("x") is None

        assert f"schema {migrated} is at version" in caplog.text
        assert "newer" in caplog.text

    async def test_the_version_can_be_read_at_run_time(self, storage: AsyncStorage) -> None:
        assert await storage.migrated_version() == migrations.LATEST


class TestTenants:
    async def test_two_schemas_over_one_pool_do_not_see_each_other(
        self, dsn: str, migrated: str, pool: Pool, start: Start
    ) -> None:
        other = f"{migrated}_b"
        await migrations.up(dsn, schema=other)
        async with (
            start(pool=pool) as a,
            start(pool=pool, schema=other) as b,
        ):
            await a.put(order(context=Context({"tenant": "a"})))
            await b.put(order(context=Context({"tenant": "b"})))
            await a.put(order("only::a"))

            assert [i.context.initial["tenant"] for i in await b.query()] == ["b"]
            assert await b.get("only::a") is None
            assert await b.delete("only::a") is False
            assert await b.query(id="only::a") == []
            mine = await a.get("orderid::1")
            assert mine is not None
            assert mine.context.initial == {"tenant": "a"}
        await pool.execute(f"DROP SCHEMA {other} CASCADE")

    async def test_two_databases_do_not_see_each_other(
        self, database: str, storage: AsyncStorage
    ) -> None:
        await migrations.up(database)
        async with AsyncStorage.start(database, references=Names()) as other:
            assert other.name == "default"
            assert AsyncStorage.named() is other
            await other.put(order())

            assert await storage.get("orderid::1") is None
            assert await storage.query() == []


async def _connections(pool: Pool, application: str) -> int:
    return int(
        await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", application
        )
    )


async def _blocked(pool: Pool, schema: str) -> None:
    """Wait until a statement on the schema waits for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'"
    )
    async with asyncio.timeout(WAIT_SECONDS):
        while not await pool.fetchval(waiting, schema):
            await asyncio.sleep(0.01)
