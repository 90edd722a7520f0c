from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from hephaestus_pg import migrations
from hephaestus_pg.errors import ConnectionLostError, RejectedError
from hephaestus_pg.migrations import engine
from hephaestus_pg.migrations.files import shipped
from tests.support.catalog import (
    FAMILY_INDEX,
    INSERTED_INDEX,
    RAISE,
    WAIT_SECONDS,
    assert_is_at,
    snapshot,
    until_waiting,
)
from tests.support.migrated import UUID, kill_at_stage

if TYPE_CHECKING:
    from tests.support.migrated import Link

ROWS = 3500  # more than three chunks
FILL = f"""
    INSERT INTO {{}}.workflow_instances (id, workflow, inserted_at, updated_at)
    SELECT gen_random_uuid(), 'Elixir.Order', now(), now() FROM generate_series(1, {ROWS})
"""
# As a writer of bare uuids does it, before the ids are text and after.
UPSERT = """
    INSERT INTO {}.workflow_instances (id, workflow, state, inserted_at, updated_at)
    VALUES ($1::text::uuid, 'Elixir.Order', $2::text::jsonb, now(), now())
    ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state
"""
# Makes who updates the 2,500th row wait for an advisory lock, since a lock of the row's table would
# stop the stages before.
BRAKE = """
    CREATE FUNCTION {0}.brake() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(1, 2); RETURN NEW; END';
    CREATE TRIGGER brake BEFORE UPDATE ON {0}.workflow_instances FOR EACH ROW
        WHEN (OLD.workflow = 'slow') EXECUTE FUNCTION {0}.brake();
    UPDATE {0}.workflow_instances SET workflow = 'slow'
        WHERE id = (SELECT id FROM {0}.workflow_instances ORDER BY id OFFSET 2500 LIMIT 1);
"""
RELEASE = """
    DROP TRIGGER brake ON {0}.workflow_instances;
    DROP FUNCTION {0}.brake();
"""
STAGES = [
    (migration.version, stage)
    for migration in shipped()
    for stage in range(1, len(migration.stages) + 1)
]


@pytest.fixture
async def filled(dsn: str, schema: str, link: Link) -> str:
    await migrations.up(dsn, schema=schema, version=2)
    await link.execute(FILL.format(schema))
    return schema


async def ids(link: Link, schema: str) -> set[str]:
    rows = await link.fetch(f"SELECT id::text FROM {schema}.workflow_instances")
    return {row["id"] for row in rows}


async def kill_backend(link: Link, statement: str, lock: str) -> None:
    """End the session that waits in that statement for that kind of lock, once it does."""
    pid = await until_waiting(link, statement, lock)
    await link.execute("SELECT pg_terminate_backend($1)", pid)


async def test_online_makes_the_same_schema_as_plain(database: str) -> None:
    link = await asyncpg.connect(database)
    for schema, online in (("plain", False), ("online", True)):
        await migrations.up(database, schema=schema, version=2)
        await link.execute(FILL.format(schema))
        before = await ids(link, schema)
        result = await migrations.up(database, schema=schema, online=online)
        assert [step.online for step in result.steps] == [online, online, False, online]
        assert await ids(link, schema) == before
        await assert_is_at(database, schema, migrations.LATEST)
    assert await snapshot(database, "plain") == await snapshot(database, "online")
    await link.close()


@pytest.mark.parametrize(
    ("made", "named"),
    (
        ("CREATE INDEX theirs ON {0}.workflow_instances (status, id)", "index {0}.theirs"),
        ("CREATE INDEX theirs ON {0}.workflow_instances ((id::text))", "index {0}.theirs"),
        (
            "ALTER TABLE {0}.workflow_instances ADD CONSTRAINT theirs CHECK (id::text <> workflow)",
            "constraint theirs on table {0}.workflow_instances",
        ),
        ("CREATE VIEW {0}.theirs AS SELECT id FROM {0}.workflow_instances", "view {0}.theirs"),
        (
            "CREATE TABLE {0}.theirs (id uuid REFERENCES {0}.workflow_instances)",
            "constraint theirs_id_fkey on table {0}.theirs",
        ),
        ("GRANT SELECT (id) ON {0}.workflow_instances TO PUBLIC", "its grants"),
        ("COMMENT ON COLUMN {0}.workflow_instances.id IS 'theirs'", "its comment"),
        (
            "ALTER TABLE {0}.{1} REPLICA IDENTITY USING INDEX {1}_pkey",
            "the replica identity by its index",
        ),
    ),
)
async def test_what_the_exchange_of_the_ids_would_lose_is_named_before(
    link: Link, dsn: str, schema: str, made: str, named: str
) -> None:
    await migrations.up(dsn, schema=schema, version=2)
    await link.execute(made.format(schema, "workflow_instances"))
    before = await snapshot(dsn, schema)
    with pytest.raises(RejectedError) as caught:
        await migrations.up(dsn, schema=schema, online=True)
    assert f"without what depends on it: {named.format(schema)}; drop" in str(caught.value).replace(
        "rule _RETURN on ", ""
    )
    assert await snapshot(dsn, schema) == before


async def test_a_large_table_is_migrated_online_unasked(
    dsn: str, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ONLINE_ABOVE", 100_000)
    result = await migrations.up(dsn, schema=filled)
    assert [step.online for step in result.steps] == [True, True, False, True]
    result = await migrations.down(dsn, schema=filled, version=2)
    monkeypatch.setattr(engine, "ONLINE_ABOVE", 100_000_000)
    result = await migrations.up(dsn, schema=filled)
    assert [step.online for step in result.steps] == [False, False, False, False]


async def test_writers_go_on_throughout_and_lose_nothing(link: Link, dsn: str, filled: str) -> None:
    kept = sorted(await ids(link, filled))
    acknowledged: dict[str, int] = {}
    done = asyncio.Event()
    written = 0

    async def write(mine: list[str]) -> None:
        """Insert new rows and update old ones; remember what was acknowledged."""
        nonlocal written
        writer = await asyncpg.connect(dsn, command_timeout=WAIT_SECONDS)
        try:
            for number in count():
                key = str(uuid4()) if number % 2 else mine[number % len(mine)]
                await writer.execute(UPSERT.format(filled), key, f'{{"n": {number}}}')
                acknowledged[key] = number
                written += 1
                if done.is_set():
                    break
        finally:
            await writer.close()

    async with asyncio.TaskGroup() as writers:
        for start in range(4):
            writers.create_task(write(kept[start::4]))
        while written < 20:
            await link.execute("SELECT 1")
        before = written
        await migrations.up(dsn, schema=filled, online=True)
        during = written - before
        done.set()

    rows = await link.fetch(f"SELECT id, state->>'n' AS n FROM {filled}.workflow_instances")
    found = {row["id"]: row["n"] for row in rows}
    assert {key: found.get(key) for key in acknowledged} == {
        key: str(number) for key, number in acknowledged.items()
    }
    assert set(kept) <= set(found)
    assert during > 4  # more than those that were under way
    await assert_is_at(dsn, filled, migrations.LATEST)


@pytest.mark.once
@pytest.mark.parametrize("point", STAGES)
@pytest.mark.parametrize("again", (True, False), ids=["online again", "then plain"])
async def test_a_run_killed_before_any_stage_can_be_repeated(
    link: Link,
    dsn: str,
    filled: str,
    point: tuple[int, int],
    *,
    again: bool,
) -> None:
    version, stage = point
    before = await ids(link, filled)
    await kill_at_stage(dsn, filled, f"migration {version}", stage)
    new = str(uuid4())
    await link.execute(UPSERT.format(filled), new, "{}")

    await migrations.up(dsn, schema=filled, online=again)

    await assert_is_at(dsn, filled, migrations.LATEST)
    assert await ids(link, filled) == before | {new}
    others = (await snapshot(dsn, filled))["others"]
    assert {name for kind, name in others if kind in {"function", "trigger"}} == {RAISE}


@pytest.mark.parametrize("online", (True, False))
async def test_a_run_killed_between_chunks_goes_on(database: str, *, online: bool) -> None:
    link, holder = await asyncpg.connect(database), await asyncpg.connect(database)
    await migrations.up(database, version=2)
    await link.execute(FILL.format("public"))
    await link.execute(BRAKE.format("public"))
    before = await ids(link, "public")
    await holder.execute("SELECT pg_advisory_lock(1, 2)")
    task = asyncio.create_task(migrations.up(database, online=True))
    await kill_backend(link, "FOR NO KEY UPDATE", "advisory")
    with pytest.raises(ConnectionLostError):
        await task
    await holder.execute("SELECT pg_advisory_unlock(1, 2)")
    done = await link.fetchval("SELECT count(hephaestus_pg_wide_id) FROM workflow_instances")
    assert done == 2000
    await link.execute(RELEASE.format("public"))
    await migrations.up(database, online=online)
    await assert_is_at(database, "public", migrations.LATEST)
    assert await ids(link, "public") == before
    await asyncio.gather(link.close(), holder.close())


async def test_what_a_subscriber_writes_meanwhile_is_exchanged_too(
    link: Link, dsn: str, schema: str
) -> None:
    await migrations.up(dsn, schema=schema, version=2)
    await kill_at_stage(dsn, schema, "migration 3", 2)
    await link.execute("SET session_replication_role = replica")  # as what applies changes has it
    await link.execute(UPSERT.format(schema), UUID, "{}")
    await migrations.up(dsn, schema=schema, online=True)
    assert await link.fetchval(f"SELECT id FROM {schema}.workflow_instances") == UUID


@pytest.mark.parametrize("online", (True, False))
@pytest.mark.parametrize(
    ("version", "index"),
    (
        (3, "hephaestus_pg_wide_id_key"),
        (4, FAMILY_INDEX),
        (4, INSERTED_INDEX),
    ),
)
async def test_an_index_that_a_kill_left_invalid_is_built_again(
    database: str, version: int, index: str, *, online: bool
) -> None:
    link, holder = await asyncpg.connect(database), await asyncpg.connect(database)
    await migrations.up(database, version=version - 1)
    if version == 3:
        await link.execute(FILL.format("public"))
        await link.execute(BRAKE.format("public"))
        await holder.execute("SELECT pg_advisory_lock(1, 2)")
        task = asyncio.create_task(migrations.up(database, online=True))
        await until_waiting(link, "FOR NO KEY UPDATE", "advisory")
    elif index == INSERTED_INDEX:  # The stage before it would be what waits.
        await link.execute(
            f'CREATE INDEX {FAMILY_INDEX} ON workflow_instances (workflow COLLATE "C")'
        )
    # A concurrent build waits for every writer of the table.
    held = holder.transaction()
    await held.start()
    await holder.execute("LOCK TABLE workflow_instances IN ROW EXCLUSIVE MODE")
    if version == 3:
        await holder.execute("SELECT pg_advisory_unlock(1, 2)")
    else:
        task = asyncio.create_task(migrations.up(database, online=True))
    # In its first lock, of the table, there would be no index yet.
    await kill_backend(link, f"CONCURRENTLY IF NOT EXISTS {index}", "virtualxid")
    with pytest.raises(ConnectionLostError):
        await task
    await held.rollback()
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = $1::text::regclass"
    assert await link.fetchval(valid, index) is False
    await migrations.up(database, online=online)
    await assert_is_at(database, "public", migrations.LATEST)
    await asyncio.gather(link.close(), holder.close())


async def test_an_index_that_is_there_is_not_built_again(link: Link, dsn: str, schema: str) -> None:
    await migrations.up(dsn, schema=schema, version=3)
    await link.execute(
        f'CREATE INDEX {FAMILY_INDEX} ON {schema}.workflow_instances (workflow COLLATE "C")'
    )
    sent: list[str] = []
    link.add_query_logger(lambda record: sent.append(record.query))
    await migrations.up(connection=link, schema=schema, version=4, online=True)
    built = [text.split()[6] for text in sent if "CONCURRENTLY" in text]
    assert built == [INSERTED_INDEX]
    await assert_is_at(dsn, schema, 4)


async def test_down_removes_what_an_abandoned_online_run_left(
    link: Link, dsn: str, filled: str
) -> None:
    await link.execute(f"CREATE VIEW {filled}.ids AS SELECT id FROM {filled}.workflow_instances")
    with pytest.raises(RejectedError, match="depend"):
        await migrations.up(dsn, schema=filled, online=True)
    await link.execute(f"DROP VIEW {filled}.ids")
    await migrations.down(dsn, schema=filled, version=1)
    await assert_is_at(dsn, filled, 1)
    others = (await snapshot(dsn, filled))["others"]
    assert {kind for kind, _ in others} == {"table", "comment"}


async def test_online_is_repeatable_on_ids_that_are_text_already(
    link: Link, dsn: str, filled: str
) -> None:
    await migrations.up(dsn, schema=filled)
    await link.execute(
        f"UPDATE {filled}.workflow_instances SET id = 'order::' || id WHERE id > '8'"
    )
    before = await ids(link, filled)
    await migrations.down(dsn, schema=filled, version=2)
    await migrations.up(dsn, schema=filled, online=True)
    await assert_is_at(dsn, filled, migrations.LATEST)
    assert await ids(link, filled) == before
