"""Callers at the same time, through two storages."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hephaestus_pg.errors import InstanceExistsError, InstanceNotFoundError, StaleInstanceError
from hephaestus_pg.testing.conformance.suite import Own, Suite, held
from hephaestus_pg.values.instance import Context, Instance, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from hephaestus_pg.protocol import Storage

_CALLERS = 12
_SECONDS = 60.0
"""After so long what hangs is ended. Nothing depends on it that works."""


async def _together(calls: Iterable[Awaitable[Any]]) -> list[Any]:
    """What each call gave or raised."""
    async with asyncio.timeout(_SECONDS):
        return await asyncio.gather(*calls, return_exceptions=True)


def _parted(results: list[Any], kind: type[BaseException]) -> tuple[list[Any], list[Any]]:
    """The results that are no errors, and those that are of that kind; there are no others."""
    good = [each for each in results if not isinstance(each, BaseException)]
    refused = [each for each in results if isinstance(each, kind)]
    assert len(good) + len(refused) == len(results), results
    return good, refused


def _counted(instance: Instance) -> Instance:
    number = instance.context.initial.get("n", 0)
    return replace(instance, context=Context({"n": number + 1}))


class Concurrency(Suite):
    """Callers at the same time. Give it a fixture ``another`` too, as another process would be."""

    async def test_what_another_writes_is_seen_by_the_next_read(
        self, storage: Storage, another: Storage, own: Own
    ) -> None:
        seen = await storage.insert(own.instance())
        assert await held(storage, own.id()) == seen
        assert await storage.get_many([own.id()]) == {own.id(): seen}
        theirs = await another.update(replace(seen, status=Status.RUNNING))
        assert await held(storage, own.id()) == theirs
        assert await storage.get_many([own.id()]) == {own.id(): theirs}
        assert await storage.query(workflow=own.workflow, status="running") == [theirs]
        await another.delete(own.id())
        assert await storage.get(own.id()) is None
        assert await storage.get_many([own.id()]) == {}

    async def test_of_many_inserts_exactly_one_succeeds(
        self, storage: Storage, another: Storage, own: Own
    ) -> None:
        results = await _together(
            (storage, another)[caller % 2].insert(own.instance(context=Context({"by": caller})))
            for caller in range(_CALLERS)
        )
        [winner], _ = _parted(results, InstanceExistsError)
        assert await held(storage, own.id()) == winner

    async def test_of_many_who_replace_a_finished_one_exactly_one_succeeds(
        self, storage: Storage, another: Storage, own: Own
    ) -> None:
        await storage.insert(own.instance(status=Status.COMPLETED))
        results = await _together(
            (storage, another)[caller % 2].insert(
                own.instance(context=Context({"by": caller})), replace_finished=True
            )
            for caller in range(_CALLERS)
        )
        [winner], _ = _parted(results, InstanceExistsError)
        assert await held(storage, own.id()) == winner

    async def test_of_many_updates_of_one_revision_exactly_one_succeeds(
        self, storage: Storage, another: Storage, own: Own
    ) -> None:
        seen = await storage.insert(own.instance())
        results = await _together(
            (storage, another)[caller % 2].update(replace(seen, context=Context({"by": caller})))
            for caller in range(_CALLERS)
        )
        [winner], _ = _parted(results, StaleInstanceError)
        assert await held(storage, own.id()) == winner

    async def test_no_change_of_many_modifies_is_lost(
        self, storage: Storage, another: Storage, own: Own
    ) -> None:
        first = await storage.insert(own.instance())
        results = await _together(
            (storage, another)[caller % 2].modify(own.id(), _counted) for caller in range(_CALLERS)
        )
        assert [each for each in results if not isinstance(each, Instance)] == []
        last = await held(another, own.id())
        assert last.context.initial == {"n": _CALLERS}
        assert {each.context.initial["n"] for each in results} == set(range(1, _CALLERS + 1))
        assert first.revision is not None
        assert last.revision == first.revision + _CALLERS

    async def test_revisions_of_many_puts_grow_by_one_and_none_comes_twice(
        self, storage: Storage, another: Storage, own: Own
    ) -> None:
        first = await storage.insert(own.instance())
        results = await _together(
            (storage, another)[caller % 2].put(own.instance(context=Context({"by": caller})))
            for caller in range(_CALLERS)
        )
        assert first.revision is not None
        assert sorted(each.revision - first.revision for each in results) == list(
            range(1, _CALLERS + 1)
        )
        last = max(results, key=lambda each: each.revision)
        assert await held(storage, own.id()) == last

    async def test_of_many_deletes_exactly_one_says_that_there_was_a_row(
        self, storage: Storage, another: Storage, own: Own
    ) -> None:
        await storage.insert(own.instance())
        results = await _together(
            (storage, another)[caller % 2].delete(own.id()) for caller in range(_CALLERS)
        )
        assert sorted(results) == [False] * (_CALLERS - 1) + [True]

    async def test_no_revision_comes_twice_while_a_row_comes_and_goes(
        self, storage: Storage, another: Storage, own: Own
    ) -> None:
        written: list[Instance] = []

        async def live(own_storage: Storage, caller: int) -> None:
            mark = own.instance(context=Context({"by": caller}))
            for _ in range(4):
                verbs: list[Callable[[], Awaitable[Any]]] = [
                    lambda: own_storage.insert(mark),
                    lambda: own_storage.put(mark),
                    lambda: own_storage.delete(own.id()),
                ]
                for verb in verbs:
                    try:
                        result = await verb()
                    except (InstanceExistsError, InstanceNotFoundError):
                        continue
                    if isinstance(result, Instance):
                        written.append(result)

        await _together(live((storage, another)[caller % 2], caller) for caller in range(4))
        revisions = [each.revision for each in written]
        assert len(revisions) == len(set(revisions))
        assert None not in revisions

    async def test_put_many_in_opposite_orders_does_not_deadlock(
        self, storage: Storage, another: Storage, own: Own
    ) -> None:
        rows = own.instances(20)
        results = await _together(
            (storage, another)[caller % 2].put_many(rows[:: 1 if caller % 2 else -1])
            for caller in range(_CALLERS)
        )
        assert all(isinstance(each, list) for each in results), results
        assert await storage.count(workflow=own.workflow) == len(rows)

    async def test_nobody_sees_half_of_a_put_many(
        self, storage: Storage, another: Storage, own: Own
    ) -> None:
        ids = [each.id for each in own.instances(10)]

        def generation(number: int) -> list[Instance]:
            return own.instances(10, context=Context({"generation": number}))

        await storage.put_many(generation(0))
        is_over = asyncio.Event()
        seen: list[set[int]] = []

        async def write() -> None:
            for number in range(1, 15):
                await storage.put_many(generation(number))
                await asyncio.sleep(0)  # a double in memory may never wait
            is_over.set()

        async def read() -> None:
            while not is_over.is_set():
                found = await another.get_many(ids)
                seen.append({each.context.initial["generation"] for each in found.values()})
                await asyncio.sleep(0)

        assert await _together([read(), write()]) == [None, None]
        assert [each for each in seen if len(each) != 1] == []

    async def test_a_cancelled_call_disturbs_no_other(self, storage: Storage, own: Own) -> None:
        tasks = [asyncio.create_task(storage.put(each)) for each in own.instances(_CALLERS)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await _together(tasks)
        assert [each for each in results[1::2] if not isinstance(each, Instance)] == []
        for each in results[1::2]:
            assert await held(storage, each.id) == each
