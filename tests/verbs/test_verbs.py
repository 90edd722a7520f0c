"""Every verb, on each thing that has them: a storage, a caller's pool, a transaction, a connection.

The caller's pool and connection have a jsonb codec of their own, which must not matter.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    CorruptInstanceError,
    Instance,
    InstanceExistsError,
    InstanceNotFoundError,
    InvalidTypeError,
    InvalidValueError,
    Names,
    SerializationError,
    StaleInstanceError,
    Status,
)
from hephaestus_pg.driver.rows import fetch_rows
from hephaestus_pg.execution import connection_executor, pool_executor
from hephaestus_pg.execution.statements import statements_of
from hephaestus_pg.verbs import bulk
from tests.support.catalog import MOMENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hephaestus_pg.verbs.search import Verbs
    from tests.support.faults import Faults


async def _own_codec(connection: asyncpg.Connection[Any]) -> None:
    for type_name in ("json", "jsonb"):
        await connection.set_type_codec(
            type_name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )


@asynccontextmanager
async def opened(kind: str, dsn: str, schema: str) -> AsyncIterator[Verbs]:
    """The verbs of that kind on the schema."""
    async with (
        asyncpg.create_pool(dsn, min_size=1, max_size=3, init=_own_codec) as pool,
        AsyncStorage.start(pool=pool, name=kind, schema=schema, references=Names()) as on_pool,
        AsyncStorage.start(dsn, schema=schema, references=Names(), batching=False) as own,
    ):
        match kind:
            case "storage":
                async with AsyncStorage.start(
                    dsn, name="own", schema=schema, references=Names()
                ) as storage:
                    yield storage
            case "unbatched":
                yield own
            case "pool":
                yield on_pool
            case "transaction":
                async with own.transaction() as transaction:
                    yield transaction
            case "savepoint":
                async with (
                    pool.acquire() as connection,
                    connection.transaction(),
                    connection.transaction(),
                ):
                    yield own.using(connection)


@pytest.fixture(params=("storage", "unbatched", "pool", "transaction", "savepoint"))
async def verbs(request: pytest.FixtureRequest, dsn: str, migrated: str) -> AsyncIterator[Verbs]:
    async with opened(request.param, dsn, migrated) as verbs:
        yield verbs


SOON = datetime.now(UTC) + timedelta(days=1)


def order(id: str = "orderid::1", **fields: Any) -> Instance:
    return replace(Instance.new("Order", {"order_id": 1}, id=id), **fields)


async def test_an_instance_goes_through_its_life(verbs: Verbs) -> None:
    assert verbs.schema.startswith("schema_")
    inserted = await verbs.insert(order(context=Context({"items": (1, 2)})))
    running = await verbs.update(replace(inserted, status=Status.RUNNING))
    waiting = await verbs.put(replace(running, status=Status.WAITING))

    first = inserted.revision or 0
    assert first > MOMENT
    assert [running.revision, waiting.revision] == [first + 1, first + 2]
    assert await verbs.get("orderid::1") == waiting
    assert await verbs.query(status="waiting") == [waiting]
    assert await verbs.count(status="running") == 0
    assert [instance async for instance in verbs.stream()] == [waiting]
    assert await verbs.delete("orderid::1", revision=waiting.revision) is True
    assert await verbs.get("orderid::1") is None


class TestInsert:
    async def test_a_taken_id_is_refused_with_what_holds_it(self, verbs: Verbs) -> None:
        held = await verbs.insert(order(status=Status.RUNNING))

        with pytest.raises(InstanceExistsError, match="replace_finished") as caught:
            await verbs.insert(order(workflow="Other"))
        error = caught.value
        assert (error.id, error.status, error.workflow) == ("orderid::1", "running", "Order")
        assert await verbs.get("orderid::1") == held

    @pytest.mark.parametrize("status", tuple(Status))
    async def test_only_a_finished_row_makes_way(self, verbs: Verbs, status: Status) -> None:
        held = await verbs.insert(order(status=status, workflow_version=7, unknown_state={"x": 1}))
        new = order(workflow="Next", workflow_version=8)

        if status in Status.ACTIVE:
            with pytest.raises(InstanceExistsError):
                await verbs.insert(new, replace_finished=True)
            assert await verbs.get(held.id) == held
            return
        with pytest.raises(InstanceExistsError):
            await verbs.insert(new)
        replaced = await verbs.insert(new, replace_finished=True)

        assert replaced == new
        assert replaced.workflow_version == 8
        assert replaced.unknown_state == {}
        assert replaced.revision == (held.revision or 0) + 1
        read = await verbs.get(held.id)
        assert read == new
        assert (read.revision, read.inserted_at) == (replaced.revision, replaced.inserted_at)

    async def test_who_holds_the_finished_one_cannot_overwrite_the_new(self, verbs: Verbs) -> None:
        finished = await verbs.insert(order(status=Status.COMPLETED))
        await verbs.insert(order(), replace_finished=True)

        with pytest.raises(StaleInstanceError):
            await verbs.update(finished)
        with pytest.raises(StaleInstanceError):
            await verbs.delete(finished.id, revision=finished.revision)

    async def test_a_replaced_row_has_its_own_moment_of_insertion(
        self, storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        old = await storage.insert(order(status=Status.FAILED))
        await pool.execute(
            f"UPDATE {storage.schema}.workflow_instances SET inserted_at = '2020-01-01'"
        )
        new = await storage.insert(order(), replace_finished=True)

        assert new.inserted_at is not None
        assert old.inserted_at is not None
        assert new.inserted_at >= old.inserted_at

    async def test_one_whose_answer_is_lost_is_known_though_its_maps_have_changed(
        self, storage: AsyncStorage, faults: Faults
    ) -> None:
        given = {"order_id": 1}
        faults.lose_answer("insert")
        faults.before("get", lambda: given.update(order_id=2))
        stored = await storage.insert(Instance.new("Order", given, id="orderid::1"))

        assert list(dict.fromkeys(faults.tried)) == ["insert", "terminate_backend", "get"]
        assert given == {"order_id": 2}
        assert stored.context.initial == {"order_id": 1}
        assert stored == await storage.get("orderid::1")

    async def test_one_that_lost_a_race_for_a_free_id_is_not_told_of_its_own_row(
        self, storage: AsyncStorage, faults: Faults, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        """The row in its way goes; the answer to its own commit is lost, and it is done again."""
        await storage.insert(order(workflow="Other"))
        gone = f"DELETE FROM {storage.schema}.workflow_instances WHERE workflow = 'Other'"
        faults.before("get", lambda: pool.execute(gone))
        faults.lose_answer("transaction")
        stored = await storage.insert(order())

        assert faults.tried.count("transaction") == 2
        assert stored == order()
        assert stored == await storage.get("orderid::1")
        with pytest.raises(InstanceExistsError):
            await storage.insert(order())


async def test_what_a_write_gives_is_what_is_stored_though_the_callers_maps_change(
    verbs: Verbs,
) -> None:
    given: dict[str, Any] = {"order": {"id": 1}}
    revision = None
    for write in (verbs.insert, verbs.put, verbs.update):
        instance = order(context=Context(given), runtime_metadata=given, revision=revision)
        task = asyncio.create_task(write(instance))
        await asyncio.sleep(0)
        given["order"]["id"] += 1
        stored = await task
        given["order"]["id"] += 1
        revision = stored.revision

        assert stored == await verbs.get(stored.id)


class TestUpdate:
    async def test_a_stale_instance_is_refused_with_both_revisions(self, verbs: Verbs) -> None:
        first = await verbs.insert(order())
        second = await verbs.put(replace(first, status=Status.RUNNING))

        with pytest.raises(StaleInstanceError, match="get it again") as caught:
            await verbs.update(replace(first, status=Status.FAILED))
        error = caught.value
        assert error.id == "orderid::1"
        assert (error.expected, error.found) == (first.revision, second.revision)
        held = await verbs.get("orderid::1")
        assert held is not None
        assert (held.status, held.revision) == (Status.RUNNING, second.revision)

    async def test_an_instance_that_is_gone_is_not_found(self, verbs: Verbs) -> None:
        held = await verbs.insert(order())
        await verbs.delete(held.id)

        with pytest.raises(InstanceNotFoundError, match="orderid::1"):
            await verbs.update(held)
        assert await verbs.count() == 0

    async def test_an_instance_that_was_never_stored_is_refused(self, verbs: Verbs) -> None:
        await verbs.insert(order())

        with pytest.raises(InvalidValueError, match="revision is None"):
            await verbs.update(order())

    async def test_it_moves_an_instance_on_to_another_version(self, verbs: Verbs) -> None:
        held = await verbs.insert(order(workflow_version=5))

        updated = await verbs.update(replace(held, workflow_version=99, workflow="Renamed"))

        assert updated.workflow_version == 99
        assert updated.workflow == "Renamed"
        assert updated.inserted_at == held.inserted_at
        assert await verbs.get(held.id) == updated
        assert await verbs.query(workflow_version=99) == [updated]

    async def test_a_version_is_seen_in_a_row_whose_answer_was_lost(
        self, storage: AsyncStorage, faults: Faults
    ) -> None:
        held = await storage.insert(order(workflow_version=5))
        faults.tried.clear()
        faults.lose_answer("update")
        updated = await storage.update(replace(held, workflow_version=6))

        assert list(dict.fromkeys(faults.tried)) == ["update", "terminate_backend", "get"]
        assert updated.workflow_version == 6
        assert updated == await storage.get(held.id)

    async def test_put_keeps_the_version_of_the_row(self, verbs: Verbs) -> None:
        held = await verbs.insert(order(workflow_version=5))

        for put in (verbs.put(replace(held, workflow_version=6)), verbs.put_many([held])):
            await put
            read = await verbs.get(held.id)
            assert read is not None
            assert read.workflow_version == 5

    async def test_a_refused_state_leaves_the_row(self, verbs: Verbs) -> None:
        held = await verbs.insert(order())

        for write in (verbs.update, verbs.put):
            with pytest.raises(SerializationError):
                await write(replace(held, runtime_metadata={"x": object()}))
        assert await verbs.get(held.id) == held


class TestDelete:
    async def test_another_revision_is_refused(self, verbs: Verbs) -> None:
        held = await verbs.insert(order())

        with pytest.raises(StaleInstanceError) as caught:
            await verbs.delete(held.id, revision=2)
        assert (caught.value.expected, caught.value.found) == (2, held.revision)
        assert await verbs.delete(held.id, revision=held.revision) is True
        assert await verbs.delete(held.id, revision=held.revision) is False
        assert await verbs.delete(held.id) is False

    @pytest.mark.parametrize("revision", (0, -1, 2**63, "1", True))
    async def test_what_cannot_be_a_revision_is_refused(self, verbs: Verbs, revision: Any) -> None:
        with pytest.raises(InvalidValueError, match="^revision is "):
            await verbs.delete("x", revision=revision)


class TestMany:
    async def test_many_are_put_read_and_deleted(self, verbs: Verbs) -> None:
        given = [order(f"orderid::{n}", status=Status.RUNNING) for n in (3, 1, 2)]
        first = await verbs.put(order("orderid::1"))

        stored = await verbs.put_many(given)

        assert stored == given
        revisions = [instance.revision or 0 for instance in stored]
        assert revisions[1] == (first.revision or 0) + 1
        assert min(revisions) > MOMENT
        found = await verbs.get_many([*(i.id for i in given), "orderid::none", "orderid::1"])
        assert found == {instance.id: instance for instance in given}
        assert found["orderid::1"].revision == revisions[1]
        assert await verbs.delete_many(["orderid::1", "none", "orderid::3"]) == {
            "orderid::1",
            "orderid::3",
        }
        assert await verbs.count() == 1

    async def test_none_at_all_is_nothing(self, verbs: Verbs) -> None:
        assert await verbs.put_many([]) == []
        assert await verbs.get_many([]) == {}
        assert await verbs.delete_many([]) == set()

    async def test_an_iterator_will_do(self, verbs: Verbs) -> None:
        await verbs.put_many(order(f"x::{n}") for n in range(3))

        assert len(await verbs.get_many(f"x::{n}" for n in range(5))) == 3

    async def test_the_same_id_twice_is_named(self, verbs: Verbs) -> None:
        with pytest.raises(InvalidValueError, match=r"^id is 'x::1'.*twice"):
            await verbs.put_many([order("x::1"), order("x::2"), order("x::1")])
        assert await verbs.count() == 0

    async def test_all_are_stored_or_none(
        self, verbs: Verbs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk, "CHUNK_ROWS", 2)
        good = [order(f"x::{n}") for n in range(9)]

        with pytest.raises(SerializationError):
            await verbs.put_many([*good, order("x::9", runtime_metadata={"x": b""})])
        assert await verbs.count() == 0
        with pytest.raises(InvalidTypeError, match="instances"):
            await verbs.put_many([*good, "x::9"])  # type: ignore[list-item]
        assert await verbs.count() == 0

    async def test_more_than_a_statement_holds_go_in_several(
        self, verbs: Verbs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk, "CHUNK_ROWS", 10)
        monkeypatch.setattr(bulk, "CHUNK_BYTES", 5000)
        given = [
            order(f"x::{n}", context=Context({"text": "x" * (9000 if n % 7 == 0 else 300)}))
            for n in range(45)
        ]

        sent: Counter[str] = Counter()
        names = {
            statement.text: statement.name
            for statement in (
                getattr(statements_of(verbs.schema), name)
                for name in ("put_many", "get_many", "delete_many")
            )
        }

        async def counted(connection: Any, text: str, arguments: Any) -> Any:
            sent[names[text]] += 1
            return await fetch_rows(connection, text, arguments)

        for module in (connection_executor, pool_executor):
            monkeypatch.setattr(module, "fetch_rows", counted)

        assert await verbs.put_many(given) == given
        ids = [instance.id for instance in given]
        assert await verbs.get_many(ids) == {instance.id: instance for instance in given}
        assert await verbs.delete_many(ids) == set(ids)
        assert sent == {"put_many": 14, "get_many": 5, "delete_many": 5}


class TestPages:
    @pytest.fixture
    async def filled(self, verbs: Verbs, request: pytest.FixtureRequest) -> Verbs:
        """Rows of which many share a moment; one by one in a transaction all would share it."""
        await verbs.put_many([order(f"x::{n:02}", workflow=f"W{n % 3}") for n in range(30)])
        return verbs

    @pytest.mark.parametrize("order_by", ("id", "inserted_at", "updated_at"))
    @pytest.mark.parametrize("limit", (1, 7, 30, 100))
    async def test_pages_hold_every_row_once_in_order(
        self, filled: Verbs, order_by: Any, limit: int
    ) -> None:
        seen: list[Instance] = []
        after = None
        while page := await filled.query(order_by=order_by, limit=limit, after=after):
            assert len(page) <= limit
            seen += page
            after = filled.cursor(page[-1], order_by=order_by)

        assert [instance.id for instance in seen] == [f"x::{n:02}" for n in range(30)]

    async def test_filters_narrow_pages_and_counts_too(self, filled: Verbs) -> None:
        first = await filled.query(workflow="W1", limit=4)
        rest = await filled.query(workflow="W1", after=filled.cursor(first[-1]))

        assert [instance.id for instance in first + rest] == [f"x::{n:02}" for n in range(1, 30, 3)]
        assert await filled.count(workflow="W1") == 10
        assert await filled.count() == 30

    async def test_a_stream_gives_every_row_once_by_id(self, filled: Verbs) -> None:
        streamed = [instance.id async for instance in filled.stream()]
        some = [instance.id async for instance in filled.stream(workflow="W2")]

        assert streamed == [f"x::{n:02}" for n in range(30)]
        assert some == [f"x::{n:02}" for n in range(2, 30, 3)]

    async def test_a_stream_may_be_left_early(self, filled: Verbs) -> None:
        async for instance in filled.stream():
            assert instance.id == "x::00"
            break
        assert await filled.count() == 30

    async def test_deleting_the_rows_of_a_stream_as_they_come_is_fine(self, filled: Verbs) -> None:
        async for instance in filled.stream():
            assert await filled.delete(instance.id)
        assert await filled.count() == 0


class TestPrune:
    @pytest.fixture
    async def filled(self, verbs: Verbs) -> Verbs:
        statuses = list(Status)
        await verbs.put_many([order(f"x::{n:02}", status=statuses[n % 5]) for n in range(50)])
        return verbs

    async def test_finished_rows_before_a_moment_go_and_active_ones_stay(
        self, filled: Verbs
    ) -> None:
        soon = datetime.now(UTC) + timedelta(hours=1)
        seen: list[int] = []

        assert await filled.prune(finished_before=soon - timedelta(hours=2)) == 0
        assert await filled.prune(finished_before=soon, dry_run=True) == 20
        assert await filled.count() == 50
        assert await filled.prune(finished_before=soon, batch_size=6, progress=seen.append) == 20

        assert seen == [6, 12, 18, 20]
        assert await filled.count(status_in=Status.FINISHED) == 0
        assert await filled.count(status_in=Status.ACTIVE) == 30

    async def test_a_moment_without_a_zone_and_an_empty_batch_are_refused(
        self, filled: Verbs
    ) -> None:
        now = datetime.now(UTC)
        for dry_run in (True, False):
            with pytest.raises(InvalidValueError):
                await filled.prune(finished_before=now.replace(tzinfo=None), dry_run=dry_run)
            with pytest.raises(InvalidValueError, match="^finished_before is "):
                await filled.prune(finished_before="now", dry_run=dry_run)  # type: ignore[arg-type]
            with pytest.raises(InvalidValueError, match="^batch_size is "):
                await filled.prune(finished_before=now, batch_size=0, dry_run=dry_run)

    async def test_what_is_no_answer_to_a_dry_run_deletes_nothing(self, filled: Verbs) -> None:
        wrong: list[dict[str, Any]] = [{"dry_run": 0}, {"dry_run": ""}, {"progress": "print"}]
        for given in wrong:
            with pytest.raises(InvalidTypeError, match=f"^{next(iter(given))} is "):
                await filled.prune(finished_before=SOON, **given)
        assert await filled.count() == 50


class TestPruneBesideOthers:
    async def test_interrupted_it_has_done_whole_batches(self, storage: AsyncStorage) -> None:
        done = [order(f"x::{n:02}", status=Status.COMPLETED) for n in range(30)]
        await storage.put_many(done)

        def stop(pruned: int) -> None:
            if pruned == 20:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await storage.prune(finished_before=SOON, batch_size=10, progress=stop)
        assert await storage.count() == 10
        assert await storage.prune(finished_before=SOON) == 10

    async def test_one_that_is_started_again_meanwhile_stays(self, storage: AsyncStorage) -> None:
        await storage.put_many([order(f"x::{n}", status=Status.FAILED) for n in range(5)])

        async with storage.transaction() as transaction:
            await transaction.insert(order("x::2"), replace_finished=True)
            assert await storage.prune(finished_before=SOON) == 4
        assert [instance.id for instance in await storage.query()] == ["x::2"]
        assert await storage.prune(finished_before=SOON) == 0

    async def test_racing_restarts_it_deletes_no_active_one(self, storage: AsyncStorage) -> None:
        ids = [f"x::{n:02}" for n in range(40)]
        for _ in range(5):
            await storage.put_many([order(id, status=Status.COMPLETED) for id in ids])

            async def restart(id: str) -> Instance:
                return await storage.insert(order(id), replace_finished=True)

            restarted, _ = await asyncio.gather(
                asyncio.gather(*map(restart, ids)),
                storage.prune(finished_before=SOON, batch_size=3),
            )
            assert await storage.get_many(ids) == {instance.id: instance for instance in restarted}


async def test_a_corrupt_row_is_named_by_every_verb_that_reads(
    storage: AsyncStorage, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    held = await storage.put(order())
    await pool.execute(f"UPDATE {storage.schema}.workflow_instances SET state = '1'")
    seen = (held.revision or 0) + 1  # every writer raises it

    with pytest.raises(CorruptInstanceError, match=held.id):
        await storage.get(held.id)
    with pytest.raises(CorruptInstanceError, match=held.id):
        await storage.query()
    with pytest.raises(CorruptInstanceError, match=held.id):
        await storage.get_many([held.id])
    with pytest.raises(CorruptInstanceError, match=held.id):
        [_ async for _ in storage.stream()]
    # It can still be replaced and deleted.
    assert (await storage.put(held)).revision == seen + 1
    assert await storage.delete(held.id)
