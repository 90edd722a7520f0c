"""The verbs on one instance, on each thing that has them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    CorruptInstanceError,
    Instance,
    InstanceExistsError,
    InstanceNotFoundError,
    InvalidValueError,
    SerializationError,
    StaleInstanceError,
    Status,
)
from tests.support.catalog import MOMENT
from tests.support.instances import order

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg.verbs.pruning import Verbs
    from tests.support.faults import Faults

pytestmark = pytest.mark.quick


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

    async def test_an_equal_one_that_came_meanwhile_is_another(
        self, storage: AsyncStorage, faults: Faults, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        """The row in its way goes, and an equal one of another caller's comes."""
        table = f"{storage.schema}.workflow_instances"
        await storage.insert(order(workflow="Other"))
        faults.before("get", lambda: pool.execute(f"UPDATE {table} SET id = 'gone'"))
        back = f"UPDATE {table} SET id = 'orderid::1', workflow = 'Order'"
        faults.before("transaction", lambda: pool.execute(back))
        with pytest.raises(InstanceExistsError):
            await storage.insert(order())

    async def test_one_whose_commit_lost_its_answer_is_not_refused_by_its_own_row(
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

    async def test_who_leaves_aside_what_an_update_returned_is_told_to_take_it(
        self, verbs: Verbs
    ) -> None:
        held = await verbs.insert(order())
        await verbs.update(held)
        with pytest.raises(StaleInstanceError, match="your own, which returned the instance"):
            await verbs.update(held)

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

    async def test_what_cannot_be_a_revision_is_refused(self, verbs: Verbs) -> None:
        wrong: list[Any] = [0, -1, 2**63, "1", True]
        for revision in wrong:
            with pytest.raises(InvalidValueError, match="^revision is "):
                await verbs.delete("x", revision=revision)


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
