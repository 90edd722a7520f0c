"""The shard of an id is that which the server puts it into."""

from __future__ import annotations

import asyncio
import logging
from operator import itemgetter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_pg import Instance
from hephaestus_pg.batching import shards
from hephaestus_pg.batching.shards import Shards, hashed
from hephaestus_pg.errors import UnavailableError

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage
    from tests.support.databases import Owner

pytestmark = pytest.mark.quick

QUARTERS = [-(2**31), -(2**30), 0, 2**30]


async def test_a_text_is_hashed_as_the_server_hashes_it(
    pool: asyncpg.Pool[asyncpg.Record],
) -> None:
    texts = [("order::" + "0123456789abcdef" * 9)[:length] for length in range(80)]
    texts += ["ä" * length for length in range(20)] + ["😀", "a b", "\x7f"]
    rows = await pool.fetch(
        "SELECT hashtext(given) AS hash FROM unnest($1::text[]) WITH ORDINALITY"
        " AS t (given, place) ORDER BY place",
        texts,
    )
    assert [hashed(text) for text in texts] == [row["hash"] for row in rows]


@settings(max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
def test_any_text_is(owner: Owner, text: str) -> None:
    [[hash_]] = owner._connection.execute("SELECT hashtext(%s::text)", [text]).fetchall()
    assert hashed(text) == hash_


async def test_an_id_lies_in_the_shard_whose_hashes_its_own_is_among() -> None:
    async def read() -> list[int]:
        return [0, 2**30, -(2**31), -(2**30)]  # in whatever order

    found = Shards(read)
    await found.read()
    for id in ("x001", "a", "order::1", "b", "c"):
        assert QUARTERS[found.of(id) - 1] <= hashed(id) < QUARTERS[found.of(id) - 1] + 2**30
    assert len({found.of(str(number)) for number in range(100)}) == 4


async def test_they_are_read_again_after_a_while_by_a_call_that_does_not_wait_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lowest = [-(2**31)]
    reads = 0

    async def read() -> list[int]:
        nonlocal reads
        reads += 1
        return lowest

    found = Shards(read)
    await found.read()
    assert {found.of("a"), found.of("x001")} == {1}
    assert reads == 1

    monkeypatch.setattr(shards, "READ_SECONDS", 0.0)
    await found.read()
    monkeypatch.setattr(shards, "READ_SECONDS", 3600.0)
    lowest = QUARTERS
    assert found.of("a") == found.of("a") == 1
    await asyncio.sleep(0)  # the task's turn
    assert reads == 3
    assert len({found.of(str(number)) for number in range(100)}) == 4


async def test_a_program_that_cancels_every_task_has_them_read_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = 0

    async def read() -> list[int]:
        nonlocal reads
        reads += 1
        return QUARTERS

    found = Shards(read)
    monkeypatch.setattr(shards, "READ_SECONDS", 0.0)
    found.of("a")
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)
    assert reads == 0
    found.of("a")
    await asyncio.sleep(0)
    assert reads == 1


async def test_those_that_cannot_be_read_again_stay_as_they_were(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[list[int] | Exception] = [
        QUARTERS,
        UnavailableError("down", applied="no", retryable=True),
    ]

    async def read() -> list[int]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    found = Shards(read)
    monkeypatch.setattr(shards, "READ_SECONDS", 0.0)
    await found.read()
    monkeypatch.setattr(shards, "READ_SECONDS", 3600.0)
    with caplog.at_level(logging.DEBUG, logger="hephaestus_pg"):
        found.of("a")
        await asyncio.sleep(0)
    assert "the shards are read again later: down" in caplog.text
    assert len({found.of(str(number)) for number in range(100)}) == 4


async def test_calls_share_a_statement_only_within_a_shard(storage: AsyncStorage) -> None:
    ids = [f"{shard}{number}" for shard in "ab" for number in range(20)]
    together: list[set[str]] = []
    run = storage._pool_executor.fetch

    async def seen(deadline: float, statement: object, *arguments: list[str]) -> object:
        if isinstance(arguments[0], list):
            together.append({id[0] for id in arguments[0]})
        return await run(deadline, statement, *arguments)

    storage._pool_executor.fetch = seen  # type: ignore[assignment]
    storage._pool_executor.gather_by_shard(itemgetter(0))
    await asyncio.gather(*(storage.put(Instance(id, "Order")) for id in ids))
    assert together
    assert all(len(shards_of) == 1 for shards_of in together)
    assert await storage.count() == 40
