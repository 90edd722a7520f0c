"""The verbs on one instance."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from hephaestus_pg.errors import (
    InstanceExistsError,
    InstanceNotFoundError,
    InvalidTypeError,
    InvalidValueError,
    StaleInstanceError,
)
from hephaestus_pg.testing.conformance.suite import Own, Suite, held, inserted_after
from hephaestus_pg.values.instance import Context, Instance, Status

if TYPE_CHECKING:
    from hephaestus_pg.protocol import Storage

_DUE = datetime(2030, 1, 1, tzinfo=UTC)


def _revision(instance: Instance) -> int:
    assert instance.revision is not None, "a stored instance has a revision"
    return instance.revision


class Single(Suite):
    """``get``, ``put``, ``insert``, ``update``, ``modify`` and ``delete``."""

    async def test_get_gives_none_for_an_id_that_is_not_there(
        self, storage: Storage, own: Own
    ) -> None:
        assert await storage.get(own.id()) is None

    async def test_an_id_that_no_row_can_have_is_refused(self, storage: Storage) -> None:
        for id in ("", "x" * 256, "a\0b", "\ud800"):
            with pytest.raises(InvalidValueError):
                await storage.get(id)
            with pytest.raises(InvalidValueError):
                await storage.delete(id)

    async def test_put_stores_what_is_not_there(self, storage: Storage, own: Own) -> None:
        written = await storage.put(own.instance(workflow_version=3))
        assert written.revision is not None
        assert asdict(await held(storage, own.id())) == asdict(written)

    async def test_put_replaces_everything_but_version_and_inserted_at(
        self, storage: Storage, own: Own
    ) -> None:
        old = await storage.put(
            own.instance(
                workflow_version=2,
                current_step="Pay",
                context=Context({"old": 1}),
                step_configs={"Pay": {}},
                active_steps={"Pay"},
                runtime_metadata={"old": 1},
                due_at=_DUE,
            )
        )
        new = own.instance(
            workflow=f"{own.workflow}.Other",
            workflow_version=9,
            status=Status.FAILED,
            context=Context({"new": 1}),
        )
        written = await storage.put(new)
        assert written == replace(new, workflow_version=2)
        assert written.inserted_at == old.inserted_at
        assert asdict(await held(storage, own.id())) == asdict(written)

    async def test_put_wins_whatever_revision_it_has_seen(self, storage: Storage, own: Own) -> None:
        first = await storage.put(own.instance())
        second = await storage.put(replace(first, status=Status.RUNNING))
        third = await storage.put(replace(first, status=Status.WAITING))
        assert third.status is Status.WAITING
        assert [_revision(each) - _revision(first) for each in (second, third)] == [1, 2]

    async def test_insert_stores_what_is_not_there(self, storage: Storage, own: Own) -> None:
        new = own.instance(workflow_version=4, status=Status.WAITING, due_at=_DUE)
        written = await storage.insert(new)
        assert written == new
        assert asdict(await held(storage, own.id())) == asdict(written)
        other = replace(new, id=own.id("b"))
        assert await storage.insert(other, replace_finished=True) == other

    async def test_insert_refuses_a_taken_id_and_says_by_what(
        self, storage: Storage, own: Own
    ) -> None:
        for status in Status:
            before = await storage.put(own.instance(status=status))
            with pytest.raises(InstanceExistsError) as caught:
                await storage.insert(own.instance(workflow=f"{own.workflow}.Other"))
            error = caught.value
            assert (error.id, error.status, error.workflow) == (own.id(), status, own.workflow)
            assert asdict(await held(storage, own.id())) == asdict(before)

    async def test_insert_may_replace_a_finished_one_entirely(
        self, storage: Storage, own: Own
    ) -> None:
        before = [
            await storage.insert(
                own.instance(status, status=status, workflow_version=2, context=Context({"old": 1}))
            )
            for status in Status.FINISHED
        ]
        later = await inserted_after(storage, own.instance("later"), before[-1])
        assert later.inserted_at is not None
        for old in before:
            new = Instance(old.id, f"{own.workflow}.Other", workflow_version=5)
            written = await storage.insert(new, replace_finished=True)
            assert written == new
            assert _revision(written) == _revision(old) + 1
            assert written.inserted_at is not None
            assert written.inserted_at >= later.inserted_at
            assert asdict(await held(storage, old.id)) == asdict(written)

    async def test_insert_never_replaces_an_active_one(self, storage: Storage, own: Own) -> None:
        for status in Status.ACTIVE:
            before = await storage.put(own.instance(status=status))
            with pytest.raises(InstanceExistsError):
                await storage.insert(own.instance(workflow_version=2), replace_finished=True)
            assert asdict(await held(storage, own.id())) == asdict(before)

    async def test_update_stores_and_raises_the_revision_by_one(
        self, storage: Storage, own: Own
    ) -> None:
        old = await storage.insert(own.instance(due_at=_DUE))
        new = replace(old, status=Status.RUNNING, workflow_version=2, due_at=None)
        written = await storage.update(new)
        assert written == new
        assert written.inserted_at == old.inserted_at
        assert _revision(written) == _revision(old) + 1
        assert asdict(await held(storage, own.id())) == asdict(written)

    @pytest.mark.parametrize("other", ("put", "update", "put_many"))
    async def test_update_is_refused_where_another_writer_was_first(
        self, storage: Storage, own: Own, other: str
    ) -> None:
        seen = await storage.insert(own.instance())
        theirs = replace(seen, status=Status.WAITING)
        if other == "put_many":
            await storage.put_many([theirs])
        else:
            await getattr(storage, other)(theirs)
        before = await held(storage, own.id())
        with pytest.raises(StaleInstanceError) as caught:
            await storage.update(replace(seen, status=Status.COMPLETED))
        assert (caught.value.expected, caught.value.found) == (seen.revision, before.revision)
        assert asdict(await held(storage, own.id())) == asdict(before)

    async def test_update_of_a_row_that_is_gone_says_so(self, storage: Storage, own: Own) -> None:
        seen = await storage.insert(own.instance())
        await storage.delete(own.id())
        with pytest.raises(InstanceNotFoundError):
            await storage.update(seen)
        assert await storage.get(own.id()) is None

    async def test_update_refuses_what_was_never_read(self, storage: Storage, own: Own) -> None:
        await storage.insert(own.instance())
        with pytest.raises(InvalidValueError):
            await storage.update(own.instance(status=Status.RUNNING))
        assert (await held(storage, own.id())).status is Status.PENDING

    async def test_modify_changes_what_is_stored_now(self, storage: Storage, own: Own) -> None:
        first = await storage.insert(own.instance())
        before = await storage.update(replace(first, current_step="Pay"))
        given: list[Instance] = []

        def change(instance: Instance) -> Instance:
            given.append(instance)
            return replace(instance, status=Status.RUNNING)

        written = await storage.modify(own.id(), change)
        assert asdict(given[-1]) == asdict(before)
        assert written == replace(before, status=Status.RUNNING)
        assert _revision(written) == _revision(before) + 1
        assert asdict(await held(storage, own.id())) == asdict(written)

    async def test_modify_of_a_row_that_is_not_there_says_so(
        self, storage: Storage, own: Own
    ) -> None:
        with pytest.raises(InstanceNotFoundError):
            await storage.modify(own.id(), lambda instance: instance)

    async def test_modify_changes_nothing_where_the_function_fails(
        self, storage: Storage, own: Own
    ) -> None:
        before = await storage.insert(own.instance())

        def spoil(instance: Instance) -> Instance:
            cast("dict[str, Any]", instance.context.initial)["spoilt"] = True
            raise ZeroDivisionError

        changes: list[tuple[Any, type[Exception]]] = [
            (spoil, ZeroDivisionError),
            (lambda _: None, InvalidTypeError),
            (lambda it: replace(it, id=own.id("other")), InvalidValueError),
        ]
        for change, error in changes:
            with pytest.raises(error):
                await storage.modify(own.id(), change)
        assert asdict(await held(storage, own.id())) == asdict(before)
        assert await storage.get(own.id("other")) is None

    async def test_delete_says_whether_there_was_a_row(self, storage: Storage, own: Own) -> None:
        await storage.insert(own.instance())
        assert await storage.delete(own.id()) is True
        assert await storage.get(own.id()) is None
        assert await storage.delete(own.id()) is False

    async def test_delete_with_a_revision_spares_what_has_changed(
        self, storage: Storage, own: Own
    ) -> None:
        seen = await storage.insert(own.instance())
        now = await storage.put(replace(seen, status=Status.RUNNING))
        with pytest.raises(StaleInstanceError) as caught:
            await storage.delete(own.id(), revision=seen.revision)
        assert (caught.value.expected, caught.value.found) == (seen.revision, now.revision)
        assert asdict(await held(storage, own.id())) == asdict(now)
        assert await storage.delete(own.id(), revision=now.revision) is True
        assert await storage.delete(own.id(), revision=now.revision) is False

    async def test_a_revision_never_comes_again_after_a_delete(
        self, storage: Storage, own: Own
    ) -> None:
        old = await storage.insert(own.instance())
        old = await storage.put(old)
        for write in (storage.insert, storage.put):
            await storage.delete(own.id())
            new = await write(old)
            assert _revision(new) > _revision(old)
            with pytest.raises(StaleInstanceError):
                await storage.update(old)
            old = new

    async def test_no_verb_touches_another_row(self, storage: Storage, own: Own) -> None:
        other = await storage.insert(own.instance("b"))
        one = await storage.put(own.instance("a"))
        one = await storage.update(replace(one, status=Status.RUNNING))
        await storage.modify(own.id("a"), lambda it: replace(it, status=Status.WAITING))
        await storage.delete(own.id("a"))
        assert asdict(await held(storage, own.id("b"))) == asdict(other)

    async def test_updated_at_never_goes_back(self, storage: Storage, own: Own) -> None:
        first = await storage.insert(own.instance())
        second = await storage.update(first)
        assert first.updated_at is not None
        assert second.updated_at is not None
        assert first.updated_at <= second.updated_at < first.updated_at + timedelta(days=1)
