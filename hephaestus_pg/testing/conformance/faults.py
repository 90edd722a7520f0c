"""What a storage makes of faults of the server, and of the way to it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg.errors import DatabaseError, InstanceExistsError
from hephaestus_pg.testing.conformance.suite import Breaks, Own, Suite, held
from hephaestus_pg.values.instance import Context, Instance, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from hephaestus_pg.protocol import Storage


_WRITES = ("insert", "put", "update", "delete", "put_many", "delete_many")
_READS = ("get", "get_many", "query", "count", "stream")
_LOSSES = ("lose_answer", "break_connection")
_NEW = Context({"new": 1})


def _order_of(verb: str) -> str:
    """The name under which a fault of that verb is ordered."""
    names = {"stream": "query", "put_many": "transaction", "delete_many": "transaction"}
    return names.get(verb, verb)


async def _write(storage: Storage, verb: str, seen: Instance, own: Own) -> Any:
    """Writes by that verb: over what has been ``seen``, or, to insert, beside it."""
    changed = replace(seen, context=_NEW)
    writes: dict[str, Callable[[], Awaitable[Any]]] = {
        "insert": lambda: storage.insert(own.instance("new", context=_NEW)),
        "put": lambda: storage.put(changed),
        "update": lambda: storage.update(changed),
        "delete": lambda: storage.delete(seen.id),
        "put_many": lambda: storage.put_many([changed, own.instance("new", context=_NEW)]),
        "delete_many": lambda: storage.delete_many([seen.id]),
    }
    return await writes[verb]()


async def _was_written(storage: Storage, verb: str, own: Own) -> bool:
    """Whether the table shows that write, all of it."""
    if verb.startswith("delete"):
        return await storage.get(own.id()) is None
    rows = {"insert": ["new"], "put_many": ["a", "new"]}.get(verb, ["a"])
    found = [await storage.get(own.id(name)) for name in rows]
    return all(each is not None and each.context == _NEW for each in found)


async def _read(storage: Storage, verb: str, own: Own) -> Any:
    if verb == "stream":
        return [each async for each in storage.stream(workflow=own.workflow)]
    reads: dict[str, Callable[[], Awaitable[Any]]] = {
        "get": lambda: storage.get(own.id()),
        "get_many": lambda: storage.get_many([own.id()]),
        "query": lambda: storage.query(workflow=own.workflow),
        "count": lambda: storage.count(workflow=own.workflow),
    }
    return await reads[verb]()


class Faults(Suite):
    """Faults, which a fixture of the class orders."""

    @pytest.fixture(autouse=True)
    def _all_have_happened(self, faults: Breaks) -> Iterator[None]:
        yield
        assert faults.planned == 0, "a fault that was ordered did not happen"

    @pytest.mark.parametrize("fault", _LOSSES)
    @pytest.mark.parametrize("verb", _WRITES)
    async def test_a_write_is_done_though_its_connection_is_lost_before_or_after(
        self, storage: Storage, own: Own, faults: Breaks, verb: str, fault: str
    ) -> None:
        seen = await storage.insert(own.instance())
        getattr(faults, fault)(_order_of(verb))
        result = await _write(storage, verb, seen, own)
        assert await _was_written(storage, verb, own)
        if verb == "delete":
            assert result is True

    @pytest.mark.parametrize("fault", _LOSSES)
    async def test_an_update_happens_once(
        self, storage: Storage, own: Own, faults: Breaks, fault: str
    ) -> None:
        seen = await storage.insert(own.instance())
        getattr(faults, fault)("update")
        written = await storage.update(replace(seen, status=Status.RUNNING))
        assert seen.revision is not None
        assert written.revision == seen.revision + 1
        assert asdict(await held(storage, own.id())) == asdict(written)

    @pytest.mark.parametrize("fault", _LOSSES)
    async def test_a_change_by_modify_happens_once(
        self, storage: Storage, own: Own, faults: Breaks, fault: str
    ) -> None:
        await storage.insert(own.instance(context=Context({"n": 0})))
        getattr(faults, fault)("update")
        lost: DatabaseError | None = None
        try:
            await storage.modify(
                own.id(),
                lambda it: replace(it, context=Context({"n": it.context.initial["n"] + 1})),
            )
        except DatabaseError as error:  # the same may be another's
            lost = error
        assert lost is None or lost.applied == "unknown"
        assert (await held(storage, own.id())).context.initial == {"n": 1}

    async def test_an_insert_whose_answer_is_lost_does_not_find_itself_in_its_way(
        self, storage: Storage, own: Own, faults: Breaks
    ) -> None:
        faults.lose_answer("insert")
        written = await storage.insert(own.instance())
        assert asdict(await held(storage, own.id())) == asdict(written)

    async def test_an_insert_of_a_taken_id_is_never_taken_for_done(
        self, storage: Storage, own: Own, faults: Breaks
    ) -> None:
        before = await storage.insert(own.instance())
        for fault in (faults.lose_answer, faults.break_connection):
            fault("insert")
            with pytest.raises((InstanceExistsError, DatabaseError)):
                await storage.insert(own.instance(status=Status.RUNNING))
            assert asdict(await held(storage, own.id())) == asdict(before)

    @pytest.mark.parametrize("verb", _READS)
    async def test_a_read_is_tried_again(
        self, storage: Storage, own: Own, faults: Breaks, verb: str
    ) -> None:
        await storage.insert(own.instance())
        expected = await _read(storage, verb, own)
        for fault in (faults.lose_answer, faults.break_connection):
            fault(_order_of(verb))
            assert await _read(storage, verb, own) == expected

    @pytest.mark.parametrize("verb", _WRITES)
    async def test_a_refused_write_says_that_nothing_was_written(
        self, storage: Storage, own: Own, faults: Breaks, verb: str
    ) -> None:
        seen = await storage.insert(own.instance())
        faults.refuse(_order_of(verb))
        with pytest.raises(DatabaseError) as caught:
            await _write(storage, verb, seen, own)
        assert caught.value.applied == "no"
        assert asdict(await held(storage, own.id())) == asdict(seen)
        assert await storage.get(own.id("new")) is None
        await _write(storage, verb, seen, own)
        assert await _was_written(storage, verb, own)

    @pytest.mark.parametrize("verb", _READS)
    async def test_a_refused_read_is_an_error_and_the_next_works(
        self, storage: Storage, own: Own, faults: Breaks, verb: str
    ) -> None:
        await storage.insert(own.instance())
        faults.refuse(_order_of(verb))
        with pytest.raises(DatabaseError):
            await _read(storage, verb, own)
        assert await _read(storage, verb, own)
