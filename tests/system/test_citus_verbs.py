"""Where the statements of the verbs go on a Citus cluster, and what they wait for there.

What the verbs do there, the other tests show, with ``HEPHAESTUS_PG_TEST_CITUS``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, Instance, Names, Status, migrations
from hephaestus_pg.batching import shards
from hephaestus_pg.execution.multi_row import MAX_ROWS
from hephaestus_pg.watch import watchers
from tests.support.citus import DSN, SETTINGS, distributing, drop_schema
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record]

pytestmark = [
    pytest.mark.skipif(not DSN, reason="HEPHAESTUS_PG_TEST_CITUS_DSN names no cluster"),
    # Of a listener that stays on its connection in the pool.
    pytest.mark.filterwarnings("ignore::asyncpg.InterfaceWarning"),
]

# What the coordinator sends to workers, it tells the client too.
TELL = "SET citus.log_remote_commands = on; SET client_min_messages = log"


class Remote:
    """The commands for instances that a storage's statements sent to the workers."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def hear(self, _: object, message: Any) -> None:
        if message.message.startswith("issuing ") and "workflow_runners" not in message.message:
            self.commands.append(message.message.removeprefix("issuing "))

    @property
    def kinds(self) -> Counter[str]:
        return Counter(command.split()[0] for command in self.commands)


@pytest.fixture(params=("schema", "id"))
async def schema(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The name of a schema that is distributed, with all migrations."""
    async with distributed(request.param) as schema:
        yield schema


@pytest.fixture
async def sharded() -> AsyncIterator[str]:
    """The name of a schema whose instances are distributed by id."""
    async with distributed("id") as schema:
        yield schema


@asynccontextmanager
async def distributed(kind: str) -> AsyncIterator[str]:
    schema = f"schema_{uuid4().hex[:12]}"
    connection = await asyncpg.connect(DSN, server_settings=SETTINGS)
    try:
        await connection.execute(f"CREATE SCHEMA {schema}")
        await connection.execute(migrations.sql("up", schema=schema))
        for statement in distributing(schema, kind):
            await connection.execute(statement)
        yield schema
    finally:
        await drop_schema(connection, schema)
        await connection.close()


def start(schema: str, **options: Any) -> Any:
    options = {"name": uuid4().hex, "server_settings": SETTINGS, **options}
    return AsyncStorage.start(DSN, schema=schema, references=Names(), **options)


@pytest.fixture
async def remote(schema: str) -> AsyncIterator[tuple[AsyncStorage, Remote]]:
    async with telling(schema) as found:
        yield found


@asynccontextmanager
async def telling(schema: str) -> AsyncIterator[tuple[AsyncStorage, Remote]]:
    """A storage on one connection, and what it has workers do."""
    remote = Remote()

    class Told(asyncpg.Connection):
        async def reset(self, **_: Any) -> None:
            """Keeps the listener."""

    async with asyncpg.create_pool(
        DSN, min_size=1, max_size=1, server_settings=SETTINGS, connection_class=Told
    ) as pool:
        async with pool.acquire() as connection:
            connection.add_log_listener(remote.hear)
            await connection.execute(TELL)
        async with AsyncStorage.start(
            pool=pool,
            name=uuid4().hex,
            schema=schema,
            references=Names(),
            batch_by=lambda: None,  # though the class is the user's own
        ) as storage:
            yield storage, remote


async def test_a_verb_on_one_id_is_one_command_to_one_worker(
    remote: tuple[AsyncStorage, Remote],
) -> None:
    storage, sent = remote
    held = await storage.put(Instance("x", "Order"))
    for verb in (
        lambda: storage.get("x"),
        lambda: storage.put(held),
        lambda: storage.query(id="x"),
        lambda: storage.count(id="x", status="pending"),
        lambda: storage.query(id="x", limit=1, order_by="-inserted_at"),
        lambda: storage.insert(Instance("y", "Order")),
        lambda: storage.delete("y"),
    ):
        for _ in range(7):  # beyond five the server may make plans for any parameter
            await storage.delete("y")
            sent.commands.clear()
            await verb()
            assert len(sent.commands) == 1, sent.commands


async def test_calls_of_one_shard_share_a_statement_without_a_commit_in_two_phases(
    remote: tuple[AsyncStorage, Remote],
) -> None:
    storage, sent = remote
    ids = [f"x::{number:03}" for number in range(64)]
    held = await asyncio.gather(*(storage.put(Instance(id, "Order")) for id in ids))
    held = list(await asyncio.gather(*map(storage.update, held)))
    await asyncio.gather(*(storage.delete(id) for id in ids[:32]))
    await asyncio.gather(*(storage.insert(Instance(id, "Order")) for id in ids[:32]))
    assert not sent.kinds.keys() & {"PREPARE", "BEGIN"}, sent.kinds
    assert sent.kinds["INSERT"] < 48
    assert sent.kinds["UPDATE"] + sent.kinds["WITH"] < 48
    assert await storage.count() == 64


async def test_a_few_are_put_on_one_worker_without_a_commit_in_two_phases() -> None:
    async with distributed("schema") as schema, telling(schema) as (storage, sent):
        few = [Instance(f"x::{number:03}", "Order") for number in range(MAX_ROWS)]
        await storage.put_many(few)
        assert sent.kinds["INSERT"] == 1
        assert "PREPARE" not in sent.kinds
        assert set(await storage.get_many([each.id for each in few])) == {each.id for each in few}


async def test_a_shard_that_is_not_known_costs_time_and_nothing_else(sharded: str) -> None:
    async with telling(sharded) as (storage, sent):
        storage._pool_executor.gather_by_shard(lambda _: 0)
        ids = [f"x::{number:03}" for number in range(30)]
        held = await asyncio.gather(*(storage.put(Instance(id, "Order")) for id in ids))
        assert sent.kinds["PREPARE"]
        changed = await asyncio.gather(
            *(storage.update(replace(each, status=Status.COMPLETED)) for each in held)
        )
        assert await storage.get_many(ids) == {each.id: each for each in changed}
        replaced = await asyncio.gather(
            *(storage.insert(Instance(id, "Refund"), replace_finished=True) for id in ids)
        )
        for before, after in zip(changed, replaced, strict=True):
            assert before.revision is not None
            assert after.revision == before.revision + 1
        assert all(await asyncio.gather(*map(storage.delete, ids)))


async def test_shards_that_were_split_are_read_again(
    sharded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "READ_SECONDS", 0.0)
    connection = await asyncpg.connect(DSN, server_settings=SETTINGS)
    try:
        async with start(sharded) as storage:
            [lowest, *_] = sorted(await storage._pool_executor.lowest_hashes())
            [[shard, node]] = await connection.fetch(
                "SELECT shardid, nodeid FROM pg_dist_shard"
                " JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node USING (groupid)"
                f" WHERE logicalrelid = '{sharded}.workflow_instances'::regclass"
                " AND shardminvalue = $1",
                str(lowest),
            )
            assert len(await storage._pool_executor.lowest_hashes()) == 4
            await connection.execute(
                f"SELECT citus_split_shard_by_split_points({shard}, ARRAY['{lowest + 2**29}'],"
                f" ARRAY[{node}, {node}], 'block_writes')"
            )
            await asyncio.gather(*(storage.put(Instance(f"x::{n}", "Order")) for n in range(50)))
            assert len(await storage._pool_executor.lowest_hashes()) == 5
            assert await storage.count() == 50
    finally:
        await connection.close()


async def test_many_are_put_and_deleted_all_or_none(schema: str) -> None:
    ids = [f"x::{number:03}" for number in range(50)]
    async with start(schema) as storage:
        with pytest.raises(Exception, match="stop"):
            async with storage.transaction() as tx:
                await tx.put_many([Instance(id, "Order") for id in ids])
                raise RuntimeError("stop")
        assert await storage.count() == 0
        await storage.put_many([Instance(id, "Order") for id in ids])
        with pytest.raises(Exception, match="stop"):
            async with storage.transaction() as tx:
                assert await tx.delete_many(ids) == set(ids)
                raise RuntimeError("stop")
        assert await storage.count() == 50
        assert await storage.delete_many([*ids, "another"]) == set(ids)


async def test_a_lock_timeout_of_the_role_is_what_ends_a_wait_for_a_row(schema: str) -> None:
    role = f"role_{uuid4().hex[:12]}"
    owner = await asyncpg.connect(DSN, server_settings=SETTINGS)
    try:
        await owner.execute(f"CREATE ROLE {role} LOGIN")
        await owner.execute(f"ALTER ROLE {role} SET lock_timeout = '300ms'")
        await owner.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        await owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}")
        async with start(schema, user=role) as storage:
            await storage.put_many([Instance(id, "Order") for id in ("held", "free")])
            async with owner.transaction():
                await owner.execute(
                    f"UPDATE {schema}.workflow_instances SET attempts = 1 WHERE id = 'held'"
                )
                held = asyncio.create_task(storage.put(Instance("held", "Order")))
                await storage.put(Instance("free", "Order"))
                async with asyncio.timeout(20):
                    while not storage.process_stats().failed_tries:
                        await asyncio.sleep(0.01)
                assert not held.done()
            await held
    finally:
        await owner.execute(f"DROP OWNED BY {role}")
        await owner.execute(f"DROP ROLE {role}")
        await owner.close()


async def test_who_waits_is_told_by_another_process_through_the_coordinator(
    schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 3600.0)
    async with start(schema) as here, start(schema) as there:
        order = await here.insert(Instance("x", "Order"))
        waiting = asyncio.create_task(there.wait("x"))
        await happens(lambda: there._subscription.is_told)
        done = await here.update(replace(order, status=Status.COMPLETED))
        async with asyncio.timeout(20):
            assert await waiting == done


async def test_a_row_that_somebody_holds_ends_no_runner_that_lives(sharded: str) -> None:
    by_hand = await asyncpg.connect(DSN, server_settings=SETTINGS)
    table = f"{sharded}.workflow_instances"
    try:
        async with (
            start(sharded) as theirs,
            start(sharded) as ours,
            ours.runner(workflows=["Order"], lease=2, retry_after=lambda _: 0.0) as runner,
        ):
            dead = await theirs.runner(workflows=["Order"])
            await dead.insert(Instance("held", "Order"))
            async with by_hand.transaction():
                await by_hand.execute(f"UPDATE {table} SET attempts = 1 WHERE id = 'held'")
                await ours.put(Instance("free", "Order"))
                runners = f"{sharded}.workflow_runners"
                expire = f"UPDATE {runners} SET expires_at = now() WHERE token = $1"
                await by_hand_beside(expire, dead.token)
                async with asyncio.timeout(60):
                    assert (await anext(runner.claims())).id == "free"
                    await asyncio.sleep(4)  # two leases
                    [lives] = await ours.runners()
                    assert lives.token == runner.token
            async with asyncio.timeout(60):
                assert (await anext(runner.claims())).id == "held"
    finally:
        await by_hand.close()


async def by_hand_beside(statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(DSN, server_settings=SETTINGS)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def test_the_instances_of_a_large_table_are_estimated(schema: str) -> None:
    connection = await asyncpg.connect(DSN, server_settings=SETTINGS)
    await connection.execute(
        f"INSERT INTO {schema}.workflow_instances"
        " (id, workflow, status, inserted_at, updated_at, state)"
        " SELECT 'order::' || n, 'Order', 'completed', now(), now(),"
        " jsonb_build_object('a', repeat(md5(n::text), 30))"
        " FROM generate_series(1, 20000) AS n"
    )
    await connection.close()
    async with start(schema) as storage:
        [found] = (await storage.stats()).instances
    assert not found.is_exact
    assert 10_000 < found.instances < 40_000
