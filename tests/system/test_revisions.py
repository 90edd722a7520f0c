"""Every writer raises the revision, and no revision comes twice: what other programs write is seen.

Their statements are those of HephaestusEcto, of a hand at psql, of a trigger, of a restore.
"""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConnectionLostError,
    Context,
    Instance,
    Names,
    StaleInstanceError,
    Status,
    migrations,
)
from hephaestus_pg.migrations.files import shipped
from hephaestus_pg.migrations.scripts import grants
from tests.support.catalog import MOMENT, assert_is_at

if TYPE_CHECKING:
    from tests.support.faults import Faults
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

# As HephaestusEcto's put sends it.
UPSERT = """
    INSERT INTO {}.workflow_instances AS w0
        (id, state, status, workflow, workflow_version, inserted_at, updated_at)
    VALUES ($1, '{{}}', $2, 'W', 1, '2026-01-31 12:00:00', '2026-01-31 12:00:00')
    ON CONFLICT (id) DO UPDATE SET workflow = EXCLUDED.workflow, status = EXCLUDED.status,
        state = EXCLUDED.state, updated_at = EXCLUDED.updated_at
"""
CALLS = """
    SELECT calls FROM pg_stat_user_functions
    WHERE schemaname = '{}' AND funcname = 'hephaestus_pg_raise_revision'
"""


@pytest.fixture
async def theirs(pool: Pool, storage: AsyncStorage) -> Theirs:
    return Theirs(pool, storage.schema)


class Theirs:
    """A writer that has never heard of a revision."""

    def __init__(self, pool: Pool, schema: str) -> None:
        self._pool = pool
        self.table = f"{schema}.workflow_instances"
        self.upsert = UPSERT.format(schema)

    async def put(self, id: str = "x", status: str = "running") -> None:
        await self._pool.execute(self.upsert, id, status)

    async def delete(self, id: str = "x") -> None:
        await self._pool.execute(f"DELETE FROM {self.table} WHERE id = $1", id)

    async def change(self, what: str) -> None:
        await self._pool.execute(f"UPDATE {self.table} SET {what}")


def new(id: str = "x", **fields: Any) -> Instance:
    return replace(Instance.new("W", {"n": 1}, id=id), **fields)


class TestOtherWriters:
    async def test_an_upsert_in_the_same_second_is_seen(
        self, storage: AsyncStorage, theirs: Theirs
    ) -> None:
        await theirs.put()
        held = await storage.get("x")
        assert held is not None
        await theirs.put()  # the same values, the same moments

        with pytest.raises(StaleInstanceError) as caught:
            await storage.update(replace(held, status=Status.FAILED))
        assert (caught.value.expected, caught.value.found) == (
            held.revision,
            (held.revision or 0) + 1,
        )

    @pytest.mark.parametrize(
        "what",
        (
            "status = 'waiting'",
            "status = status",
            "state = '{}', updated_at = now()",
            "revision = revision",
            "workflow_version = 2, inserted_at = now()",
        ),
    )
    async def test_an_update_by_hand_is_seen(
        self, storage: AsyncStorage, theirs: Theirs, what: str
    ) -> None:
        held = await storage.insert(new())
        await theirs.change(what)

        with pytest.raises(StaleInstanceError):
            await storage.update(held)
        with pytest.raises(StaleInstanceError):
            await storage.delete(held.id, revision=held.revision)

    async def test_what_was_deleted_and_inserted_again_is_another(
        self, storage: AsyncStorage, theirs: Theirs
    ) -> None:
        deletes = (storage.delete, theirs.delete)
        inserts = (lambda: storage.insert(new(current_step="2")), theirs.put)
        for delete in deletes:
            for insert in inserts:
                held = await storage.put(new())
                await delete("x")
                await insert()
                with pytest.raises(StaleInstanceError):
                    await storage.update(replace(held, status=Status.FAILED))
                with pytest.raises(StaleInstanceError):
                    await storage.delete("x", revision=held.revision)

    async def test_nor_after_many_writes_of_the_one_before(self, storage: AsyncStorage) -> None:
        held = [await storage.insert(new())]
        for _ in range(50):
            held.append(await storage.update(held[-1]))
        await storage.delete("x")
        again = await storage.insert(new())

        assert (again.revision or 0) > max(each.revision or 0 for each in held)
        for each in held:
            with pytest.raises(StaleInstanceError):
                await storage.update(each)

    async def test_a_replaced_one_goes_on_from_the_finished(
        self, storage: AsyncStorage, theirs: Theirs
    ) -> None:
        held = await storage.insert(new())
        await theirs.put(status="completed")
        again = await storage.insert(new(), replace_finished=True)
        assert again.revision == (held.revision or 0) + 2

    async def test_rows_of_before_go_on_from_where_they_are(
        self, dsn: str, schema: str, pool: Pool
    ) -> None:
        for each in shipped()[:4]:
            await pool.execute(each.up.replace("/* schema */", f"{schema}."))
        await pool.execute(UPSERT.format(schema), "x", "running")
        before = await pool.fetch(f"SELECT ctid, xmin::text FROM {schema}.workflow_instances")

        await migrations.up(dsn, schema=schema, assume_version=3)

        rows = await pool.fetch(f"SELECT ctid, xmin::text FROM {schema}.workflow_instances")
        assert rows == before
        async with AsyncStorage.start(
            dsn, name=schema, schema=schema, references=Names()
        ) as storage:
            held = await storage.get("x")
            assert held is not None
            assert held.revision == 1
            await pool.execute(UPSERT.format(schema), "x", "waiting")
            with pytest.raises(StaleInstanceError):
                await storage.update(held)

    async def test_many_writers_at_once_lose_nothing(
        self, storage: AsyncStorage, theirs: Theirs, pool: Pool
    ) -> None:
        """An update takes effect only on what it has read, whoever writes beside it."""
        await storage.insert(new("sum", context=Context({"n": 0})))
        done = 0

        async def ours() -> None:
            nonlocal done
            while done < 200:
                held = await storage.get("sum")
                assert held is not None
                context = Context({"n": held.context.initial["n"] + 1})
                try:
                    await storage.update(replace(held, context=context))
                except StaleInstanceError:
                    continue
                done += 1

        async def others() -> None:
            nonlocal done
            while done < 200:
                state = "jsonb_set(state, '{context,initial,n}', "
                state += "to_jsonb((state #>> '{context,initial,n}')::integer + 1))"
                await theirs.change(f"state = {state}")
                done += 1

        await asyncio.gather(*(ours() for _ in range(8)), *(others() for _ in range(2)))
        held = await storage.get("sum")
        assert held is not None
        assert held.context.initial["n"] == done


class TestOurStatements:
    @pytest.mark.parametrize("batching", (True, False))
    async def test_they_do_not_run_the_trigger(
        self, dsn: str, migrated: str, pool: Pool, start: Start, *, batching: bool
    ) -> None:
        calls = CALLS.format(migrated)
        async with start(
            batching=batching, max_size=2, server_settings={"track_functions": "all"}
        ) as storage:
            ids = [f"x::{number}" for number in range(40)]
            held = await asyncio.gather(*(storage.insert(new(id)) for id in ids))
            held = await asyncio.gather(*map(storage.update, held))
            held = await asyncio.gather(*map(storage.put, held))
            held = await storage.put_many([replace(each, status=Status.COMPLETED) for each in held])
            await asyncio.gather(*(storage.insert(new(id), replace_finished=True) for id in ids))
            async with storage.transaction() as transaction:
                await transaction.put(new(ids[0]))
            assert await storage.count() == 40
            [gone] = await asyncio.gather(storage.delete(ids[1]))
            assert gone
        # What a session counted is there by the time that it has ended; see that it counts at all.
        other = await asyncpg.connect(dsn, server_settings={"track_functions": "all"})
        await other.execute(UPSERT.format(migrated), ids[0], "running")
        await other.close()
        async with asyncio.timeout(30):
            while not (counted := await pool.fetchval(calls)):
                await asyncio.sleep(0.01)
        assert counted == 1

    async def test_a_new_row_begins_at_a_moment_of_the_servers_clock(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        before = await pool.fetchval(clock)
        one = await storage.put(new("1"))
        two = await storage.insert(new("2"))
        three, four = await storage.put_many([new("3"), new("4")])
        after = await pool.fetchval(clock)
        found = [each.revision or 0 for each in (one, two, three, four)]
        assert found == sorted(found)
        assert before <= found[0]
        assert found[-1] <= after

    async def test_an_insert_whose_connection_broke_is_told_by_what_is_there(
        self, storage: AsyncStorage, faults: Faults
    ) -> None:
        faults.lose_answer("insert")
        stored = await storage.insert(new())
        assert await storage.get("x") == stored
        assert (stored.revision or 0) > MOMENT

        faults.lose_answer("insert")
        with pytest.raises(ConnectionLostError) as caught:  # another's, and by now only that
            await storage.insert(new(current_step="mine"))
        assert caught.value.applied == "unknown"


class TestTheTrigger:
    async def test_a_role_with_the_grants_alone_can_write(
        self, dsn: str, migrated: str, pool: Pool, start: Start
    ) -> None:
        role = f"role_{uuid4().hex[:12]}"
        await pool.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        try:
            await pool.execute(f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {migrated} FROM PUBLIC")
            await pool.execute(grants(role, schema=migrated))
            parts = urlsplit(dsn)
            netloc = f"{role}:x@{parts.hostname}:{parts.port}"
            async with start(parts._replace(netloc=netloc).geturl()) as storage:
                held = await storage.insert(new())
                async with storage.transaction() as transaction:
                    await transaction.connection.execute(UPSERT.format(migrated), "x", "running")
                with pytest.raises(StaleInstanceError):
                    await storage.update(held)
                read = await storage.get("x")
                assert read is not None
                await storage.update(read)
        finally:
            await pool.execute(f"DROP OWNED BY {role}")
            await pool.execute(f"DROP ROLE {role}")

    @pytest.mark.parametrize("name", ("a_first", "z_last"))
    @pytest.mark.parametrize("event", ("BEFORE UPDATE", "BEFORE INSERT OR UPDATE"))
    async def test_a_users_own_trigger_does_no_harm(
        self, storage: AsyncStorage, theirs: Theirs, pool: Pool, name: str, event: str
    ) -> None:
        await pool.execute(
            f"CREATE FUNCTION {storage.schema}.touch() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN NEW.updated_at := now(); RETURN NEW; END'"
        )
        await pool.execute(
            f"CREATE TRIGGER {name} {event} ON {theirs.table}"
            f" FOR EACH ROW EXECUTE FUNCTION {storage.schema}.touch()"
        )
        held = await storage.put(new())
        await theirs.put()
        read = await storage.get("x")
        assert read is not None
        assert read.revision == (held.revision or 0) + 1
        assert (await storage.update(read)).revision == (held.revision or 0) + 2

    async def test_it_needs_no_search_path_and_no_operator_of_another(
        self, storage: AsyncStorage, dsn: str, migrated: str
    ) -> None:
        held = await storage.put(new())
        for path in ("''", "pg_temp", f"{migrated}, pg_catalog"):
            link = await asyncpg.connect(dsn)
            await link.execute(f"SET search_path = {path}")
            await link.execute(UPSERT.format(migrated), "x", "running")
            await link.close()
        read = await storage.get("x")
        assert read is not None
        assert read.revision == (held.revision or 0) + 3

    async def test_a_replica_takes_revisions_as_they_come(
        self, storage: AsyncStorage, dsn: str, migrated: str
    ) -> None:
        """A subscriber of logical replication applies with session_replication_role = replica."""
        held = await storage.put(new())
        link = await asyncpg.connect(dsn)
        await link.execute("SET session_replication_role = replica")
        await link.execute(UPSERT.format(migrated), "x", "running")
        await link.close()
        read = await storage.get("x")
        assert read is not None
        assert read.revision == held.revision

    async def test_it_works_on_a_partitioned_table_too(self, database: str) -> None:
        link = await asyncpg.connect(database)
        await migrations.up(database, version=3)
        await link.execute("ALTER TABLE workflow_instances RENAME TO old")
        await link.execute(
            "CREATE TABLE workflow_instances (LIKE old INCLUDING DEFAULTS, PRIMARY KEY (id))"
            " PARTITION BY HASH (id)"
        )
        for part in range(3):
            await link.execute(
                f"CREATE TABLE part_{part} PARTITION OF workflow_instances"
                f" FOR VALUES WITH (MODULUS 3, REMAINDER {part})"
            )
        await link.execute("DROP TABLE old")
        await migrations.up(database)
        assert (await migrations.status(database)).differences == ()
        async with AsyncStorage.start(database, references=Names()) as storage:
            held = await storage.put_many([new(f"x::{number}") for number in range(20)])
            for each in held:
                await link.execute(UPSERT.format("public"), each.id, "running")
            read = await storage.get_many(each.id for each in held)
            assert all(read[each.id].revision == (each.revision or 0) + 1 for each in held)
        await migrations.down(database, version=4)
        assert await link.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0
        await link.close()

    @pytest.mark.parametrize("how", ("--format=plain", "--inserts", "--rows-per-insert=2"))
    async def test_a_dump_is_restored_whole(
        self, database: str, dsn: str, storage: AsyncStorage, theirs: Theirs, how: str
    ) -> None:
        folder = _programs(dsn)
        if folder is None:
            pytest.skip("there is no pg_dump of the server's version")
        held = [await storage.put(new(f"x::{number}")) for number in range(3)]
        await theirs.put("x::0")
        dump = [str(folder / "pg_dump"), dsn, f"--schema={storage.schema}", how]
        text = subprocess.run(dump, check=True, capture_output=True).stdout  # noqa: ASYNC221
        restore = [str(folder / "psql"), "-q", "-X", "-v", "ON_ERROR_STOP=1", database]
        subprocess.run(restore, check=True, input=text, capture_output=True)  # noqa: ASYNC221

        assert (await migrations.status(database, schema=storage.schema)).differences == ()
        async with AsyncStorage.start(
            database, name="restored", schema=storage.schema, references=Names()
        ) as restored:
            for each in await storage.query():
                read = await restored.get(each.id)
                assert (read, read and read.revision) == (each, each.revision)
            link = await asyncpg.connect(database)
            await link.execute(theirs.upsert, "x::1", "running")
            await link.close()
            with pytest.raises(StaleInstanceError):
                await restored.update(held[1])
            await restored.update(held[2])


def _programs(dsn: str) -> Path | None:
    """Where there is a pg_dump that the server takes."""
    with psycopg.connect(dsn) as connection:
        version = connection.info.server_version // 10000
    folder = Path(f"/usr/lib/postgresql/{version}/bin")
    return folder if (folder / "pg_dump").is_file() else None


class TestTakingBack:
    async def test_revisions_go_on_over_down_and_up(
        self, dsn: str, migrated: str, pool: Pool, start: Start
    ) -> None:
        async def started() -> AsyncStorage:
            return await start()

        highest = 0
        for version in (4, 3, 2, 1):
            storage = await started()
            held = await storage.put(new())
            assert (held.revision or 0) > highest
            await storage.close()
            await migrations.down(dsn, schema=migrated, version=version)
            if version == 4:
                await pool.execute(f"DELETE FROM {migrated}.workflow_instances")
                await pool.execute(UPSERT.format(migrated), "x", "running")
            pages = f"SELECT ctid, xmin::text FROM {migrated}.workflow_instances"
            before = await pool.fetch(pages)
            await migrations.up(dsn, schema=migrated)
            if version > 2:  # 3 rewrites what 2 has left
                assert await pool.fetch(pages) == before
            await assert_is_at(dsn, migrated, migrations.LATEST)
            storage = await started()
            with pytest.raises(StaleInstanceError):
                await storage.update(held)
            read = await storage.get("x")
            assert read is not None
            highest = read.revision or 0
            assert highest > (held.revision or 0)
            await storage.close()

    async def test_scripts_down_and_up_go_on_with_revisions_too(
        self, dsn: str, migrated: str, pool: Pool
    ) -> None:
        await pool.execute(UPSERT.format(migrated), "x", "running")
        revision = f"SELECT revision FROM {migrated}.workflow_instances"
        before = await pool.fetchval(revision)
        await pool.execute(migrations.sql("down", schema=migrated, version=3))
        await pool.execute(migrations.sql("up", schema=migrated, from_version=3))
        assert await pool.fetchval(revision) > before
