"""Codecs of a connection's owner do not matter; one for text is an error that names it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest

from hephaestus_pg import (
    AsyncStorage,
    CodecError,
    Context,
    Instance,
    StaleInstanceError,
    Status,
    UnexpectedRowError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.starting import Start

pytestmark = pytest.mark.once

SOON = datetime.now(UTC) + timedelta(days=1)
NUMBERS = ("int2", "int4", "int8", "float4", "float8", "numeric", "bool", "oid")
MOMENTS = ("timestamp", "timestamptz", "date", "interval")


class Wrapped:
    """An application's own class for values, which nothing here expects."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Text(str):
    """A text of another class."""

    __slots__ = ()


def text_codecs(
    *types: str, encoder: Callable[[Any], str] = str, decoder: Callable[[str], Any] = Wrapped
) -> Any:
    async def init(connection: asyncpg.Connection[Any]) -> None:
        for name in types:
            await connection.set_type_codec(
                name, schema="pg_catalog", encoder=encoder, decoder=decoder
            )

    return init


async def binary_numbers(connection: asyncpg.Connection[Any]) -> None:
    for name in ("int4", "int8", "float8", "bool", "timestamp", "timestamptz"):
        await connection.set_type_codec(
            name,
            schema="pg_catalog",
            encoder=lambda value: value.to_bytes(8, "big"),
            decoder=bytes.hex,
            format="binary",
        )


async def tuples(connection: asyncpg.Connection[Any]) -> None:
    for name in MOMENTS:
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=tuple, decoder=list, format="tuple"
        )


async def extensions(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("CREATE EXTENSION IF NOT EXISTS citext")
    await connection.execute("CREATE EXTENSION IF NOT EXISTS hstore")
    await connection.set_builtin_type_codec("hstore", codec_name="pg_contrib.hstore")
    schema = await connection.fetchval(
        "SELECT typnamespace::regnamespace::text FROM pg_type WHERE typname = 'citext'"
    )
    await connection.set_type_codec("citext", schema=schema, encoder=str.lower, decoder=str.lower)


HARMLESS: dict[str, Any] = {
    "json by json": text_codecs("json", "jsonb", encoder=json.dumps, decoder=json.loads),
    "json by orjson": text_codecs(
        "json", "jsonb", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
    ),
    "uuids as text": text_codecs("uuid", decoder=str),
    "numbers as floats": text_codecs("numeric", decoder=float),
    "floats as decimals": text_codecs("float8", "float4", decoder=Decimal),
    "bigints as text, for JavaScript": text_codecs("int8", decoder=str),
    "numbers wrapped": text_codecs(*NUMBERS[:-1]),
    "numbers that want to be wrapped": text_codecs(
        *NUMBERS[:-1], encoder=lambda value: value.value
    ),
    "numbers in binary": binary_numbers,
    "moments wrapped": text_codecs(*MOMENTS, encoder=lambda value: value.value),
    "moments as tuples": tuples,
    "bytes as hex": text_codecs("bytea", decoder=str),
    "names": text_codecs("name", "bpchar", "char", decoder=str.rstrip),
    "texts of a class of their own": text_codecs("text", "varchar", decoder=Text),
    "varchar wrapped": text_codecs("varchar", encoder=lambda value: value.value),
    "extensions": extensions,
}


def order(id: str = "order::1", **fields: Any) -> Instance:
    return replace(Instance.new("Order", {"n": 1, "text": "é"}, id=id), **fields)


@asynccontextmanager
async def opened(
    start: Start, dsn: str, init: Any, *, batching: bool = False, **hooks: Any
) -> AsyncIterator[AsyncStorage]:
    shared: dict[str, Any] = {"batch_by": lambda: None} if batching else {}
    async with (
        asyncpg.create_pool(dsn, min_size=1, max_size=2, init=init, **hooks) as pool,
        start(pool=pool, **shared) as storage,
    ):
        yield storage


@pytest.mark.parametrize("init", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("batching", (True, False))
async def test_every_verb_works_with_codecs_of_the_owners(
    start: Start, dsn: str, init: Any, batching: bool
) -> None:
    async with opened(start, dsn, init, batching=batching) as storage, start() as plain:
        assert await storage.migrated_version() == await plain.migrated_version()
        ids = [f"order::{n}" for n in range(20)]
        await asyncio.gather(*(storage.put(order(id)) for id in ids))
        held = await asyncio.gather(*map(storage.get, ids))
        assert held == [order(id) for id in ids]
        assert all(type(i.revision) is int and type(i.workflow_version) is int for i in held if i)
        assert all(i.inserted_at and i.inserted_at.tzinfo is UTC for i in held if i)
        moved = await asyncio.gather(
            *(storage.update(replace(i, workflow_version=2)) for i in held if i)
        )
        assert [i.workflow_version for i in moved] == [2] * 20
        with pytest.raises(StaleInstanceError):
            await storage.update(order(revision=1))
        done = [replace(i, status=Status.COMPLETED) for i in moved]
        assert await storage.put_many(done) == done
        assert await storage.get_many(ids) == {i.id: i for i in done}
        again = await asyncio.gather(
            *(storage.insert(order(id), replace_finished=True) for id in ids[:3])
        )
        assert again == [order(id) for id in ids[:3]]
        page = await storage.query(
            status_in=["completed"], workflow_version=2, order_by="inserted_at", limit=5
        )
        after = storage.cursor(page[-1], order_by="inserted_at")
        assert len(await storage.query(order_by="inserted_at", after=after, limit=9)) == 9
        assert len(await storage.query(order_by="updated_at", limit=9)) == 9
        assert await storage.count(updated_before=SOON, workflow_family="Ord") == 20
        assert len([i async for i in storage.stream(contains=CONTAINED)]) == 20
        async with storage.transaction() as transaction:
            assert await transaction.delete("order::0", revision=again[0].revision)
            assert await transaction.delete_many(ids[:3]) == {"order::1", "order::2"}
        assert await storage.delete("order::0") is False
        assert await storage.prune(finished_before=SOON, batch_size=10) == 17


CONTAINED = {"context": {"initial": {"text": "é"}}}


@pytest.mark.parametrize("init", HARMLESS.values(), ids=HARMLESS)
async def test_a_write_is_retried_on_a_broken_connection_with_codecs(
    start: Start, dsn: str, migrated: str, init: Any, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    async with opened(start, dsn, init) as storage:
        async with pool.acquire() as holder, holder.transaction():
            await holder.execute(f"LOCK {migrated}.workflow_instances")
            put = asyncio.create_task(storage.put(order()))
            async with asyncio.timeout(20):
                while not await pool.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE wait_event_type = 'Lock' AND strpos(query, $1) > 0",
                    migrated,
                ):
                    await asyncio.sleep(0.001)
        assert await put == order()
        assert await storage.get("order::1") == order()


BREAKING: dict[str, Any] = {
    "a text of no str": text_codecs("text", decoder=str.encode),
    "a text wrapped": text_codecs("text"),
    "a text that wants to be wrapped": text_codecs("text", encoder=lambda value: value.value),
    "a text that is no JSON": text_codecs("text", decoder=json.loads),
    "a text that does not decode": text_codecs("text", decoder=lambda _: 1 / 0),
}


@pytest.mark.parametrize("init", BREAKING.values(), ids=BREAKING)
async def test_a_codec_for_text_is_named_in_the_error(dsn: str, start: Start, init: Any) -> None:
    async with start() as storage:
        await storage.put(order(context=Context({"secret": "hunter2"})))
        connection = await asyncpg.connect(dsn)
        try:
            await init(connection)
            using = storage.using(connection)
            for call in (
                lambda: using.get("order::1"),
                lambda: using.put(order(context=Context({"secret": "hunter2"}))),
                lambda: using.insert(order("new")),
                lambda: using.put_many([order()]),
                lambda: using.get_many(["order::1"]),
                using.query,
                using.count,
                lambda: using.delete("order::1"),
                lambda: using.prune(finished_before=SOON),
            ):
                with pytest.raises(CodecError, match="a codec set on the connection") as caught:
                    await call()
                cause: BaseException | None = caught.value
                while cause is not None:
                    assert "hunter2" not in str(cause)
                    cause = cause.__cause__
        finally:
            await connection.close()


@pytest.mark.parametrize("batching", (True, False))
async def test_each_caller_of_a_batch_gets_the_codec_error(
    start: Start, dsn: str, batching: bool
) -> None:
    started = False

    async def wrapped_later(connection: asyncpg.Connection[Any]) -> None:
        if started:
            await BREAKING["a text wrapped"](connection)

    async with opened(start, dsn, None, batching=batching, setup=wrapped_later) as storage:
        started = True
        calls = [storage.put(order(f"order::{n}")) for n in range(30)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {CodecError}
        assert len(set(map(id, results))) == 30


async def test_a_storage_does_not_start_with_a_codec_for_text(start: Start, dsn: str) -> None:
    with pytest.raises(CodecError):
        async with opened(start, dsn, BREAKING["a text wrapped"]):
            pass


async def test_a_codec_for_text_that_changes_an_id_is_noticed(start: Start, dsn: str) -> None:
    renaming = text_codecs("text", encoder=lambda text: text.replace("::", "__"), decoder=str)
    async with opened(start, dsn, renaming) as storage:
        with pytest.raises(UnexpectedRowError, match="gave the row 'order__1' instead"):
            await storage.insert(order())
