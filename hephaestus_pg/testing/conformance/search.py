"""The verbs that search."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args
from uuid import UUID

import pytest

from hephaestus_pg.errors import InvalidTypeError, InvalidValueError
from hephaestus_pg.testing.conformance.suite import Own, Suite, inserted_after
from hephaestus_pg.values.instance import Context, Instance, Status
from hephaestus_pg.verbs.keyset import Order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hephaestus_pg.protocol import Storage
    from hephaestus_pg.verbs.filters import Filters

_DUE = datetime(2026, 3, 29, 1, 59, 59, 500_000, tzinfo=UTC)
_DAY = timedelta(days=1)

# The names of those of the five rows below that a filter lets through.
_FILTERS: dict[str, tuple[Filters, str]] = {
    "none": ({}, "abcde"),
    "status": ({"status": Status.RUNNING}, "b"),
    "status as text": ({"status": "running"}, "b"),
    "status_in": ({"status_in": Status.FINISHED}, "de"),
    "status_in, empty": ({"status_in": []}, ""),
    "status and status_in": ({"status": "failed", "status_in": ["completed", "pending"]}, ""),
    "workflow_version": ({"workflow_version": 2}, "bd"),
    "contains": ({"contains": {"context": {"initial": {"tag": "odd"}}}}, "bd"),
    "contains a part of a list": ({"contains": {"context": {"initial": {"list": [2]}}}}, "abcde"),
    "contains a list in any order": (
        {"contains": {"context": {"initial": {"list": [2, 1, 1]}}}},
        "abcde",
    ),
    "contains no truth for a number": (
        {"contains": {"context": {"initial": {"number": True}}}},
        "",
    ),
    "contains no text of a number": ({"contains": {"context": {"initial": {"number": "1"}}}}, ""),
    "runner, nobody": ({"runner": None}, "abcde"),
    "runner, another": ({"runner": UUID(int=7)}, ""),
    "due_before": ({"due_before": _DUE + timedelta(microseconds=1)}, "c"),
    "due_before, exclusive": ({"due_before": _DUE}, ""),
    "several": (
        {"status_in": ["running", "failed"], "workflow_version": 2, "runner": None},
        "b",
    ),
    "several that exclude each other": ({"status": "pending", "workflow_version": 2}, ""),
}

_WRONG: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "a filter that there is not": ({"statuses": "pending"}, InvalidValueError),
    "a status that there is not": ({"status": "pendin"}, InvalidValueError),
    "None, which would let everything through": ({"status": None}, InvalidTypeError),
    "a text for several statuses": ({"status_in": "pending"}, InvalidTypeError),
    "a number as text": ({"workflow_version": "1"}, InvalidTypeError),
    "a moment without a zone": ({"inserted_after": datetime(2026, 1, 1)}, InvalidValueError),  # noqa: DTZ001
    "an empty family": ({"workflow_family": ""}, InvalidValueError),
    "a key that no state has": ({"contains": {"contxt": {"a": 1}}}, InvalidValueError),
}

_FAMILIES = ("Pay", "Pay%", "Pay_", "Pay\\", "Pay%Out", "PayXOut", "pay", "Pa")


async def _fill(storage: Storage, own: Own) -> Instance:
    """Stores five instances, one of each status, and two of other workflows.

    Gives one of the five; all of them have its moments, or are older by a second.
    """
    rows = [
        own.instance(
            name,
            status=status,
            workflow_version=1 + number % 2,
            context=Context({"tag": ("even", "odd")[number % 2], "list": [1, 2], "number": 1}),
            due_at={"c": _DUE}.get(name),
        )
        for number, (name, status) in enumerate(zip("abcde", Status, strict=True))
    ]
    others = (own.workflow.upper(), f"{own.workflow}.Other")
    theirs = [own.instance(name, workflow=each) for name, each in zip("yz", others, strict=True)]
    await storage.put_many([*rows, *theirs])
    return (await storage.put_many(rows))[-1]


def _names(own: Own, instances: list[Instance]) -> str:
    return "".join(sorted(each.id.removeprefix(own.id("")) for each in instances))


async def _found(storage: Storage, own: Own, **filters: Any) -> str:
    """The names of what is found, by each of the verbs alike."""
    given: Filters = {"workflow": own.workflow, "allow_scan": True, **filters}  # type: ignore[typeddict-item] # mypy does not see what is in filters
    names = _names(own, await storage.query(**given))
    assert _names(own, [each async for each in storage.stream(**given)]) == names
    assert await storage.count(**given) == len(names)
    return names


async def _pages(storage: Storage, order_by: Order, limit: int, **filters: Any) -> list[Instance]:
    found: list[Instance] = []
    page = await storage.query(order_by=order_by, limit=limit, **filters)
    while page:
        assert len(page) <= limit
        found += page
        after = storage.cursor(page[-1], order_by=order_by)
        page = await storage.query(order_by=order_by, limit=limit, after=after, **filters)
    return found


class Search(Suite):
    """``query``, ``count``, ``stream`` and ``cursor``."""

    @pytest.mark.parametrize(("filters", "names"), list(_FILTERS.values()), ids=list(_FILTERS))
    async def test_a_filter_lets_through_what_it_says(
        self, storage: Storage, own: Own, filters: Filters, names: str
    ) -> None:
        await _fill(storage, own)
        assert await _found(storage, own, **filters) == names

    async def test_an_id_finds_its_row_if_the_other_filters_let_it_through(
        self, storage: Storage, own: Own
    ) -> None:
        await _fill(storage, own)
        assert await _found(storage, own, id=own.id("c")) == "c"
        assert await _found(storage, own, id=own.id("c"), status="waiting") == "c"
        assert await _found(storage, own, id=own.id("c"), status="running") == ""
        assert await _found(storage, own, id=own.id("z")) == ""

    @pytest.mark.parametrize("column", ("inserted", "updated"))
    async def test_bounds_of_time_are_exclusive(
        self, storage: Storage, own: Own, column: str
    ) -> None:
        row = await _fill(storage, own)
        moment = getattr(row, f"{column}_at")
        assert await _found(storage, own, **{f"{column}_before": moment}) == ""
        assert await _found(storage, own, **{f"{column}_before": moment + _DAY}) == "abcde"
        assert await _found(storage, own, **{f"{column}_after": moment}) == ""
        assert await _found(storage, own, **{f"{column}_after": moment - _DAY}) == "abcde"
        both = {f"{column}_after": moment - _DAY, f"{column}_before": moment + _DAY}
        assert await _found(storage, own, **both) == "abcde"

    async def test_when_a_row_was_inserted_is_not_when_it_was_updated(
        self, storage: Storage, own: Own
    ) -> None:
        one = await storage.insert(own.instance("b"))
        other = await inserted_after(storage, own.instance("a"), one)
        one = await storage.update(replace(one, status=Status.RUNNING))
        assert await _found(storage, own, inserted_before=other.inserted_at) == "b"
        assert await _found(storage, own, inserted_after=one.inserted_at) == "a"
        assert await _found(storage, own, updated_before=other.updated_at) == ""
        assert await _found(storage, own, updated_after=one.inserted_at) == "ab"
        orders: dict[Order, list[str]] = {
            "inserted_at": ["b", "a"],
            "-inserted_at": ["a", "b"],
            "updated_at": ["a", "b"],
            "-updated_at": ["b", "a"],
        }
        for order_by, names in orders.items():
            found = await storage.query(order_by=order_by, workflow=own.workflow)
            assert [each.id for each in found] == [own.id(name) for name in names], order_by
            pages = await _pages(storage, order_by, 1, workflow=own.workflow)
            assert [each.id for each in pages] == [own.id(name) for name in names], order_by

    async def test_a_family_is_a_literal_prefix(self, storage: Storage, own: Own) -> None:
        workflows = [f"{own.workflow}.{each}" for each in _FAMILIES]
        for name, workflow in zip("abcdefgh", workflows, strict=True):
            await storage.put(own.instance(name, workflow=workflow))
        for prefix in workflows:
            wanted = {each for each in workflows if each.startswith(prefix)}
            found = await storage.query(workflow_family=prefix)
            assert {each.workflow for each in found} == wanted
            streamed = [each async for each in storage.stream(workflow_family=prefix)]
            assert {each.workflow for each in streamed} == wanted
            assert await storage.count(workflow_family=prefix) == len(wanted)

    @pytest.mark.parametrize(("filters", "error"), list(_WRONG.values()), ids=list(_WRONG))
    async def test_a_wrong_filter_is_refused(
        self, storage: Storage, own: Own, filters: dict[str, Any], error: type[Exception]
    ) -> None:
        await storage.put(own.instance())
        given: Any = {"workflow": own.workflow, **filters}
        with pytest.raises(error):
            await storage.query(**given)
        with pytest.raises(error):
            await storage.count(**given)
        with pytest.raises(error):
            [each async for each in storage.stream(**given)]

    @pytest.mark.parametrize("order_by", get_args(Order))
    async def test_an_order_is_kept_and_the_id_decides_between_equals(
        self, storage: Storage, own: Own, order_by: Order
    ) -> None:
        for name in ("00002", "00001"):
            await storage.put(own.instance(name))
        await storage.put_many([own.instance(f"{each:05}") for each in (5, 3, 4)])
        found = await storage.query(order_by=order_by, workflow=own.workflow)
        column = order_by.removeprefix("-")
        wanted = sorted(
            found, key=lambda each: (getattr(each, column), each.id), reverse=order_by[0] == "-"
        )
        assert [each.id for each in found] == [each.id for each in wanted]
        assert _names(own, found) == "0000100002000030000400005"

    @pytest.mark.parametrize("order_by", get_args(Order))
    async def test_pages_are_complete_and_without_repeats(
        self, storage: Storage, own: Own, order_by: Order
    ) -> None:
        rows = await storage.put_many(own.instances(7))
        whole = await storage.query(order_by=order_by, workflow=own.workflow)
        for limit in (1, 3, 7, 8):
            pages = await _pages(storage, order_by, limit, workflow=own.workflow)
            assert [each.id for each in pages] == [each.id for each in whole]
            assert len(pages) == len(rows)

    @pytest.mark.parametrize("order_by", ("id", "-id", "inserted_at", "-inserted_at"))
    async def test_pages_hold_what_stays_once_while_rows_change(
        self, storage: Storage, own: Own, order_by: Order
    ) -> None:
        rows = await storage.put_many(own.instances(9))
        found: list[Instance] = []
        after = None
        changes: list[Callable[[], Awaitable[object]]] = [
            lambda: storage.delete(rows[0].id),
            lambda: storage.put(replace(rows[4], status=Status.RUNNING)),
            lambda: storage.insert(own.instance("00004b")),
            lambda: storage.delete(rows[8].id),
        ]
        while page := await storage.query(
            order_by=order_by, limit=2, after=after, workflow=own.workflow
        ):
            found += page
            after = storage.cursor(page[-1], order_by=order_by)
            if changes:
                await changes.pop(0)()
        ids = [each.id for each in found]
        assert len(ids) == len(set(ids))
        assert {each.id for each in rows[1:8]} <= set(ids)

    async def test_a_limit_gives_the_first_in_that_order(self, storage: Storage, own: Own) -> None:
        await storage.put_many(own.instances(5))
        for name in ("0", "9"):
            await storage.put(own.instance(name, workflow=f"{own.workflow}.Other"))
        first = await storage.query(limit=2, workflow=own.workflow)
        assert _names(own, first) == "0000000001"
        last = await storage.query(limit=2, order_by="-id", workflow=own.workflow)
        assert [each.id for each in last] == [own.id("00004"), own.id("00003")]

    async def test_a_cursor_of_another_order_is_refused(self, storage: Storage, own: Own) -> None:
        row = await storage.put(own.instance())
        cursors = [storage.cursor(row, order_by="inserted_at"), "x", ""]
        for after in cursors:
            with pytest.raises(InvalidValueError):
                await storage.query(order_by="id", limit=1, after=after, workflow=own.workflow)

    async def test_a_wrong_order_or_limit_is_refused(self, storage: Storage, own: Own) -> None:
        wrong: list[Any] = [{"order_by": "status"}, {"limit": 0}, {"limit": -1}, {"limit": "1"}]
        for each in wrong:
            with pytest.raises(InvalidValueError):
                await storage.query(workflow=own.workflow, **each)

    async def test_a_stream_gives_each_row_once_by_id(self, storage: Storage, own: Own) -> None:
        given = own.instances(300)
        for number in (0, 1, 4, 5, 36, 37, 300):  # whatever the size of a page may be
            if number:
                await storage.put(given[number - 1])  # so that it is not in the order of writes
            await storage.put_many(given[:number])
            streamed = [each async for each in storage.stream(workflow=own.workflow)]
            assert [each.id for each in streamed] == [each.id for each in given[:number]]
            assert streamed == given[:number]

    async def test_a_stream_gives_what_stays_once_while_rows_change(
        self, storage: Storage, own: Own
    ) -> None:
        rows = await storage.put_many(own.instances(100))
        seen: list[str] = []
        async for each in storage.stream(workflow=own.workflow):
            seen.append(each.id)
            if len(seen) % 10 == 1:
                number = len(seen)
                await storage.delete(own.id(f"{99 - number // 10:05}"))
                await storage.put(replace(rows[50], workflow_version=number))
                await storage.insert(own.instance(f"{number:05}b"))
        assert seen == sorted(set(seen))
        assert {each.id for each in rows[:89]} <= set(seen)

    async def test_a_stream_may_be_left_early(self, storage: Storage, own: Own) -> None:
        rows = await storage.put_many(own.instances(20))
        stream = storage.stream(workflow=own.workflow)
        async for each in stream:
            assert each == rows[0]
            break
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
        assert await storage.count(workflow=own.workflow) == len(rows)
