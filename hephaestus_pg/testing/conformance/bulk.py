"""The verbs on many instances."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg.errors import InvalidValueError, SerializationError, StaleInstanceError
from hephaestus_pg.testing.conformance.suite import Own, Suite, held, inserted_after
from hephaestus_pg.values.instance import Context, Status

if TYPE_CHECKING:
    from hephaestus_pg.protocol import Storage

_MANY = 1200
"""More than are usually sent in one statement."""


class Bulk(Suite):
    """``put_many``, ``get_many``, ``delete_many`` and ``prune``."""

    async def test_put_many_stores_each_as_put_does_in_their_order(
        self, storage: Storage, own: Own
    ) -> None:
        old = await storage.insert(
            own.instance(
                "b", workflow=f"{own.workflow}.Before", workflow_version=2, current_step="Pay"
            )
        )
        given = [own.instance(name, workflow_version=5) for name in "cba"]
        written = await storage.put_many(given)
        assert [each.id for each in written] == [each.id for each in given]
        assert written == [given[0], replace(given[1], workflow_version=2), given[2]]
        assert written[1].inserted_at == old.inserted_at
        assert old.revision is not None
        assert written[1].revision == old.revision + 1
        for each in written:
            assert asdict(await held(storage, each.id)) == asdict(each)

    async def test_many_are_put_read_and_deleted_completely(
        self, storage: Storage, own: Own
    ) -> None:
        given = own.instances(_MANY)
        ids = [each.id for each in given]
        assert await storage.put_many(reversed(given)) == given[::-1]
        assert await storage.get_many(ids) == {each.id: each for each in given}
        assert await storage.delete_many(ids) == set(ids)
        assert await storage.count(workflow=own.workflow) == 0

    @pytest.mark.parametrize("number", (2, _MANY))
    async def test_put_many_stores_all_or_none(
        self, storage: Storage, own: Own, number: int
    ) -> None:
        before = await storage.insert(own.instance("00000", status=Status.WAITING))
        *good, last = own.instances(number)
        bad = replace(last, context=Context({"value": float("nan")}))
        with pytest.raises(SerializationError):
            await storage.put_many([*good, bad])
        assert await storage.count(workflow=own.workflow) == 1
        assert asdict(await held(storage, before.id)) == asdict(before)

    async def test_put_many_refuses_the_same_id_twice(self, storage: Storage, own: Own) -> None:
        twice = [own.instance("a"), own.instance("b"), own.instance("a", status=Status.RUNNING)]
        with pytest.raises(InvalidValueError):
            await storage.put_many(twice)
        assert await storage.count(workflow=own.workflow) == 0

    async def test_nothing_is_done_for_no_instances(self, storage: Storage) -> None:
        assert await storage.put_many([]) == []
        assert await storage.get_many([]) == {}
        assert await storage.delete_many([]) == set()

    async def test_any_iterable_is_read_once(self, storage: Storage, own: Own) -> None:
        given = own.instances(3)
        assert await storage.put_many(each for each in given) == given
        assert len(await storage.get_many(each.id for each in given)) == len(given)
        assert await storage.delete_many(each.id for each in given) == {each.id for each in given}

    async def test_get_many_gives_what_there_is_whatever_is_asked_twice(
        self, storage: Storage, own: Own
    ) -> None:
        written = await storage.put_many(own.instances(3))
        ids = [each.id for each in written]
        found = await storage.get_many([ids[2], own.id("absent"), *ids, ids[0]])
        assert {id: asdict(each) for id, each in found.items()} == {
            each.id: asdict(each) for each in written
        }

    async def test_delete_many_gives_the_ids_of_those_that_there_were(
        self, storage: Storage, own: Own
    ) -> None:
        written = await storage.put_many(own.instances(3))
        gone = [written[0].id, written[2].id]
        assert await storage.delete_many([*gone, own.id("absent"), gone[0]]) == set(gone)
        assert await storage.get_many([each.id for each in written]) == {written[1].id: written[1]}
        assert await storage.delete_many(gone) == set()

    async def test_one_text_is_not_taken_for_many_ids(self, storage: Storage, own: Own) -> None:
        await storage.insert(own.instance())
        with pytest.raises(InvalidValueError):
            await storage.get_many(own.id())
        with pytest.raises(InvalidValueError):
            await storage.delete_many(own.id())
        await held(storage, own.id())

    async def test_prune_deletes_what_is_finished_and_nothing_active(
        self, storage: Storage, own: Own
    ) -> None:
        await storage.put_many([own.instance(status, status=status) for status in Status])
        theirs = await storage.insert(
            own.instance("theirs", workflow=f"{own.workflow}.Other", status=Status.FAILED)
        )
        counted: list[int] = []
        later = datetime.now(UTC) + timedelta(days=1)
        pruned = await storage.prune(
            finished_before=later, workflow=own.workflow, batch_size=1, progress=counted.append
        )
        assert pruned == len(Status.FINISHED)
        assert counted[-1] == pruned
        left = await storage.query(workflow=own.workflow)
        assert {each.status for each in left} == Status.ACTIVE
        assert await storage.get(theirs.id) == theirs

    async def test_prune_spares_what_was_written_since(self, storage: Storage, own: Own) -> None:
        written = await storage.insert(own.instance(status=Status.COMPLETED))
        assert written.updated_at is not None
        for moment in (written.updated_at - timedelta(days=1), written.updated_at):
            assert await storage.prune(finished_before=moment, workflow=own.workflow) == 0
        await held(storage, own.id())

    async def test_prune_spares_what_is_old_but_was_written_since(
        self, storage: Storage, own: Own
    ) -> None:
        old = await storage.insert(own.instance("old"))
        new = await inserted_after(storage, own.instance("new"), old)
        old = await storage.update(replace(old, status=Status.FAILED))
        assert new.inserted_at is not None
        pruned = await storage.prune(finished_before=new.inserted_at, workflow=own.workflow)
        assert pruned == 0
        assert await held(storage, old.id) == old

    @pytest.mark.parametrize("verb", ("delete_many", "prune"))
    async def test_no_revision_comes_again_after_many_were_deleted(
        self, storage: Storage, own: Own, verb: str
    ) -> None:
        old = await storage.put_many(own.instances(2, status=Status.FAILED))
        old = await storage.put_many(old)
        if verb == "prune":
            later = datetime.now(UTC) + timedelta(days=1)
            await storage.prune(finished_before=later, workflow=own.workflow)
        else:
            await storage.delete_many(each.id for each in old)
        new = await storage.put_many(old)
        for before, after in zip(old, new, strict=True):
            assert before.revision is not None
            assert after.revision is not None
            assert after.revision > before.revision
            with pytest.raises(StaleInstanceError):
                await storage.update(before)

    async def test_a_dry_run_of_prune_only_counts(self, storage: Storage, own: Own) -> None:
        await storage.put_many([own.instance(status, status=status) for status in Status])
        later = datetime.now(UTC) + timedelta(days=1)
        found = await storage.prune(finished_before=later, workflow=own.workflow, dry_run=True)
        assert found == len(Status.FINISHED)
        assert await storage.count(workflow=own.workflow) == len(Status)

    async def test_prune_refuses_a_moment_without_a_zone(self, storage: Storage, own: Own) -> None:
        with pytest.raises(InvalidValueError):
            await storage.prune(
                finished_before=datetime(2000, 1, 1),  # noqa: DTZ001 - that is what is refused
                workflow=own.workflow,
            )
