from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any, get_args

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    Instance,
    InvalidValueError,
    RewriteRefusedError,
    SchemaOutdatedError,
    migrations,
)
from hephaestus_pg.errors import ConnectionLostError
from hephaestus_pg.migrations import Profile, profiles
from tests.support.catalog import assert_is_at, snapshot, until, until_waiting
from tests.support.migrated import kill_at_stage

if TYPE_CHECKING:
    from tests.support.migrated import Link

PROFILES: tuple[Profile, ...] = get_args(Profile)
STATE = "idx_workflow_instances_state"
INITIAL = "hephaestus_pg_initial_index"

# The indexes over states of a profile, and the table's and the index's own settings.
EXPECTED = {
    "full": ({STATE: ["gin_pending_list_limit=1024"]}, None),
    "initial": ({INITIAL: None}, ["fillfactor=70"]),
    "none": ({}, ["fillfactor=70"]),
}


async def fill(link: Link, schema: str, rows: int, *, initial: int = 10, steps: int = 10) -> None:
    await link.execute(
        f"""
        INSERT INTO {schema}.workflow_instances (id, workflow, state, inserted_at, updated_at)
        SELECT 'order::' || n, 'Order', jsonb_build_object('context', jsonb_build_object(
            'initial', jsonb_build_object('n', n, 'address', left(repeating, {initial})),
            'steps', jsonb_build_object('Read', left(noise, {steps})))), now(), now()
        FROM generate_series(1, {rows}) AS n, LATERAL (
            SELECT string_agg(md5((n * 1000 + m)::text), '') AS noise,
                repeat(md5(n::text), 250) AS repeating
            FROM generate_series(1, 250) AS m
        ) AS texts
        """
    )


async def assert_is(link: Link, schema: str, profile: Profile) -> None:
    indexes, settings = EXPECTED[profile]
    table = f"{schema}.workflow_instances"
    found = await link.fetch(
        """
        SELECT relname, reloptions FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        JOIN pg_am ON pg_am.oid = relam WHERE indrelid = $1::text::regclass AND amname = 'gin'
        """,
        table,
    )
    assert {row["relname"]: row["reloptions"] for row in found} == indexes
    oid = f"'{table}'::regclass"
    assert await link.fetchval(f"SELECT reloptions FROM pg_class WHERE oid = {oid}") == settings
    assert (await migrations.status(connection=link, schema=schema)).index == profile
    column = f"SELECT 1 FROM pg_attribute WHERE attrelid = {oid} AND attname LIKE 'hephaestus%'"
    assert bool(await link.fetch(column)) is (profile == "initial")


@pytest.mark.parametrize("before", PROFILES)
@pytest.mark.parametrize("after", PROFILES)
async def test_each_profile_can_be_changed_to_each_other(
    link: Link, dsn: str, migrated: str, before: Profile, after: Profile
) -> None:
    await fill(link, migrated, 100)
    await migrations.index(dsn, schema=migrated, profile=before)
    await assert_is(link, migrated, before)

    result = await migrations.index(dsn, schema=migrated, profile=after)

    assert (result.schema, result.before, result.after) == (migrated, before, after)
    assert bool(result.rewritten) is (after == "initial" != before)
    await assert_is(link, migrated, after)
    once = await snapshot(dsn, migrated)
    await migrations.index(dsn, schema=migrated, profile=after)
    assert await snapshot(dsn, migrated) == once
    assert await link.fetchval(f"SELECT count(*) FROM {migrated}.workflow_instances") == 100


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("version", range(4))
async def test_down_and_up_again_restores_the_full_index(
    dsn: str, schema: str, profile: Profile, version: int
) -> None:
    await migrations.up(dsn, schema=schema)
    before = await snapshot(dsn, schema)
    await migrations.index(dsn, schema=schema, profile=profile)
    await migrations.down(dsn, schema=schema, version=version)
    await assert_is_at(dsn, schema, version)
    await migrations.up(dsn, schema=schema)
    assert await snapshot(dsn, schema) == before


@pytest.mark.parametrize("profile", PROFILES)
async def test_down_to_4_keeps_the_chosen_index(
    link: Link, dsn: str, migrated: str, profile: Profile
) -> None:
    await migrations.index(dsn, schema=migrated, profile=profile)
    before = await snapshot(dsn, migrated)
    await migrations.down(dsn, schema=migrated, version=4)
    await assert_is(link, migrated, profile)
    await migrations.up(dsn, schema=migrated)
    assert await snapshot(dsn, migrated) == before


async def test_a_fresh_schema_has_the_full_index_with_default_settings(
    link: Link, migrated: str
) -> None:
    assert (await migrations.status(connection=link, schema=migrated)).index == "full"
    options = "SELECT reloptions FROM pg_class WHERE oid = $1::text::regclass"
    assert await link.fetchval(options, f"{migrated}.{STATE}") is None


async def test_a_schema_without_a_table_has_no_profile(dsn: str, schema: str) -> None:
    assert (await migrations.status(dsn, schema=schema)).index is None


async def test_an_older_schema_has_to_be_migrated_first(dsn: str, schema: str) -> None:
    await migrations.up(dsn, schema=schema, version=3)
    with pytest.raises(SchemaOutdatedError, match="migrate up"):
        await migrations.index(dsn, schema=schema, profile="none")


@pytest.mark.parametrize("profile", ("", "all", None, "FULL"))
async def test_an_unknown_profile_is_refused(dsn: str, profile: Any) -> None:
    with pytest.raises(InvalidValueError, match="^profile is .*full, initial, none"):
        await migrations.index(dsn, profile=profile)


async def test_a_large_table_is_not_rewritten_unasked(
    link: Link, dsn: str, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(link, migrated, 100)
    monkeypatch.setattr(profiles, "REWRITE_UP_TO", 1000)
    with pytest.raises(RewriteRefusedError, match="nobody could .*; --rewrite allows") as caught:
        await migrations.index(dsn, schema=migrated, profile="initial")
    assert (caught.value.schema, caught.value.flag) == (migrated, "--rewrite")
    assert caught.value.size > 1000
    assert (await migrations.status(dsn, schema=migrated)).index == "full"

    result = await migrations.index(dsn, schema=migrated, profile="initial", rewrite=True)
    assert result.rewritten == caught.value.size
    await migrations.index(dsn, schema=migrated, profile="initial")  # nothing is to be rewritten
    await assert_is(link, migrated, "initial")


@pytest.mark.once
@pytest.mark.parametrize(
    "switch",
    (
        ("none", "full", 1),
        ("none", "full", 2),
        ("initial", "full", 2),
        ("initial", "full", 3),
        ("full", "initial", 1),
        ("full", "initial", 2),
        ("full", "none", 1),
    ),
)
async def test_a_run_killed_before_any_stage_can_be_repeated(
    link: Link,
    dsn: str,
    migrated: str,
    switch: tuple[Profile, Profile, int],
) -> None:
    before, after, stage = switch
    await fill(link, migrated, 100)
    await migrations.index(dsn, schema=migrated, profile=before)
    await kill_at_stage(dsn, migrated, f"index {after}", stage)

    await migrations.index(dsn, schema=migrated, profile=after)

    await assert_is(link, migrated, after)
    assert await link.fetchval(f"SELECT count(*) FROM {migrated}.workflow_instances") == 100


@pytest.mark.parametrize("then", PROFILES)
async def test_an_index_that_a_kill_left_invalid_does_no_harm(database: str, then: Profile) -> None:
    link, holder = await asyncpg.connect(database), await asyncpg.connect(database)
    await migrations.up(database)
    await migrations.index(database, profile="initial")
    held = holder.transaction()
    await held.start()
    await holder.execute("LOCK TABLE workflow_instances IN ROW EXCLUSIVE MODE")
    task = asyncio.create_task(migrations.index(database, profile="full"))
    waiting = await until_waiting(link, "CONCURRENTLY IF NOT EXISTS idx_", "virtualxid")
    await link.execute("SELECT pg_terminate_backend($1)", waiting)
    with pytest.raises(ConnectionLostError):
        await task
    await held.rollback()
    # The old one is in force still.
    assert (await migrations.status(database)).index == "initial"

    await migrations.index(database, profile=then)

    await assert_is(link, "public", then)
    await asyncio.gather(link.close(), holder.close())


async def test_writers_and_searches_go_on_throughout_and_nothing_is_lost(
    storage: AsyncStorage, link: Link, dsn: str
) -> None:
    await fill(link, storage.schema, 3000)
    acknowledged: dict[str, Instance] = {}
    searches = 0
    done = asyncio.Event()

    async def write(writer: int) -> None:
        for number in count():
            if done.is_set():
                return
            n = writer * 100 + number % 100  # new ones in the first round, then the same again
            context = Context({"writer": n}, {"Charge": {"round": number}})
            instance = Instance.new("Order", context, id=f"mine::{n}")
            acknowledged[instance.id] = await storage.put(instance)

    async def search() -> None:
        nonlocal searches
        while not done.is_set():
            for n in (1, 3000):
                pattern = {"context": {"initial": {"n": n}}}
                [found] = await storage.query(contains=pattern, allow_scan=True)
                assert found.id == f"order::{n}"
                searches += 1

    tasks = [asyncio.create_task(write(writer)) for writer in range(8)]
    tasks.append(asyncio.create_task(search()))
    switches: list[Profile] = ["initial", "full", "none", "initial", "none", "full"]
    for profile in switches:
        before = searches
        await migrations.index(dsn, schema=storage.schema, profile=profile)
        await assert_is(link, storage.schema, profile)
        while searches == before and not any(task.done() for task in tasks):
            await asyncio.sleep(0)
    done.set()
    await asyncio.gather(*tasks)

    stored = await storage.get_many(acknowledged)
    assert stored == acknowledged
    assert {i.id: i.revision for i in stored.values()} == {
        i.id: i.revision for i in acknowledged.values()
    }
    assert await storage.count() == 3000 + len(acknowledged)


@pytest.mark.once
@pytest.mark.parametrize(
    "sizes", ({}, {"initial": 1000, "steps": 1000}, {"initial": 1000, "steps": 8000})
)
async def test_initial_and_none_allow_heap_only_updates(
    link: Link, dsn: str, migrated: str, sizes: dict[str, int]
) -> None:
    shares = {}
    for profile in PROFILES:
        table = f"{migrated}.workflow_instances"
        await link.execute(f"TRUNCATE {table}")
        await fill(link, migrated, 500, **sizes)
        await migrations.index(dsn, schema=migrated, profile=profile)
        shares[profile] = await heap_only_share(dsn, link, table)
    # Nearly all when the server is quiet; a long transaction elsewhere keeps old rows on the pages.
    assert shares["full"] == 0
    assert shares["initial"] > 0.1
    assert shares["none"] > 0.1


async def heap_only_share(dsn: str, link: Link, table: str) -> float:
    """Of five updates of each row, the share that no index had to hear of."""
    oid = f"'{table}'::regclass"
    counts = f"SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_all_tables WHERE relid = {oid}"
    updated, heap_only = await link.fetchrow(counts)  # type: ignore[misc]
    writer = await asyncpg.connect(dsn)
    for number in range(5):
        state = f"jsonb_set(state, '{{context,steps,Charge}}', '{{\"receipt\": {number}}}')"
        for part in range(10):
            rows = f"substr(id, 8)::integer % 10 = {part}"
            await writer.execute(f"UPDATE {table} SET state = {state} WHERE {rows}")
    await writer.close()  # and so its counts are sent
    await until(link, f"{counts} AND n_tup_upd >= {updated + 2_500}")
    all_updated, all_heap_only = await link.fetchrow(counts)  # type: ignore[misc]
    return float((all_heap_only - heap_only) / (all_updated - updated))
