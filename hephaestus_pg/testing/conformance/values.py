"""What is stored comes back exactly, or is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from hephaestus_pg.errors import SerializationError
from hephaestus_pg.testing.conformance.suite import Own, Suite, held
from hephaestus_pg.values.instance import Context, ExecutionEntry, Instance, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hephaestus_pg.protocol import Storage

_MOMENT = datetime(2026, 3, 29, 1, 59, 59, 123457, tzinfo=UTC)
_FAR_EAST, _WEST = timezone(timedelta(hours=14)), timezone(-timedelta(hours=9, minutes=30))

_EXACT: dict[str, Any] = {
    "whole numbers": [0, -1, 2**31, 2**53 + 1, 2**63, -(2**64) - 1, 10**40 + 7],
    "floats": [
        0.1,
        0.0,
        1.0,
        -1.5,
        1e25,
        1e22,
        5e-324,
        1.7976931348623157e308,
        1 / 3,
        123456789.125,
    ],
    "truth and nothing": [True, False, None, [None], {"none": None}],
    "texts": [
        "",
        " ",
        "é",
        "e\u0301",
        "\U0010ffff",
        "👩‍🚀",
        "\x01\x1f\x7f",
        "'\"\\ %_${}",
        "\\u0000",
    ],
    "a long text": "0123456789abcdef" * 8192,
    "keys": {"": 1, " ": 2, "é": 3, "e\u0301": 4, "a.b": 5, "__proto__": 6, "1": 7, "id": 8},
    "empty containers": [{}, [], [[]], {"a": {}}, {"a": []}],
    "nested": {"a": [{"b": [{"c": [1, [2, [3, {"d": "e"}]]]}]}]},
    "an order of a list": [3, 1, 2, "b", "a", 1, 1],
}


class _Colour(Enum):
    RED = "red"


@dataclass
class _Point:
    x: int
    y: float


# What goes in, and what of JSON comes back.
_AS_JSON: dict[str, tuple[Any, Any]] = {
    "datetime": (_MOMENT, "2026-03-29T01:59:59.123457+00:00"),
    "date": (date(2026, 2, 3), "2026-02-03"),
    "time": (time(4, 5, 6, 7), "04:05:06.000007"),
    "Decimal": (Decimal("1.10"), "1.10"),
    "UUID": (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    "Enum": (_Colour.RED, "red"),
    "tuple": ((1, (2, 3)), [1, [2, 3]]),
    "set": ({3, 1, 2}, [1, 2, 3]),
    "frozenset": (frozenset("ba"), ["a", "b"]),
    "dataclass": (_Point(1, 2.5), {"x": 1, "y": 2.5}),
}

_CYCLE: list[Any] = []
_CYCLE.append(_CYCLE)
_REFUSED: dict[str, Any] = {
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "U+0000": "a\0b",
    "a lone surrogate": "\ud800",
    "a key that is no text": {1: "one"},
    "an object": object(),
    "a cycle": _CYCLE,
}

_WRITES = ("insert", "put", "put_many", "update", "modify")

_LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)

_IDS = ("x", "X", "x ", " x", "é", "e\u0301", "'\";--", "%", "_", "\\", "a/b?c=d&e", "\t", "日本")


def _shape(value: Any) -> Any:
    """``value`` so that ``==`` tells 1 from 1.0 and from True; its keys in any order."""
    if isinstance(value, Mapping):
        return {key: _shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shape(each) for each in value]
    return type(value).__name__, repr(value)


def _rich(own: Own) -> Instance:
    """An instance with something in every field."""
    return own.instance(
        workflow_version=7,
        status=Status.RUNNING,
        current_step="Pay",
        context=Context({"amount": 2**64 + 1, "rate": 0.1}, {"Pay": {"done": [True, None]}}),
        step_configs={"Pay": {"retries": 3}, "Ship": {}},
        active_steps=frozenset({"Pay", "Ship"}),
        completed_steps=frozenset({"Check"}),
        runtime_metadata={"trace": "é", "at": {"x": 1.0}},
        execution_history=(
            ExecutionEntry("Check", "started", _MOMENT),
            ExecutionEntry("Check", "completed", _MOMENT, {"ok": True}),
        ),
        due_at=_MOMENT,
    )


async def _written(storage: Storage, verb: str, new: Instance) -> Instance:
    """What is given by that verb, which may need a row to write over."""
    writes: dict[str, Callable[[], Awaitable[Any]]] = {
        "insert": lambda: storage.insert(new),
        "put": lambda: storage.put(new),
        "put_many": lambda: storage.put_many([new]),
        "update": lambda: storage.update(replace(new, revision=old.revision)),
        "modify": lambda: storage.modify(new.id, lambda it: replace(new, revision=it.revision)),
    }
    if verb in {"update", "modify"}:
        old = await storage.insert(Instance(new.id, f"{new.workflow}.Before"))
    result = await writes[verb]()
    written: Instance = result[0] if verb == "put_many" else result
    return written


async def _read(storage: Storage, id: str) -> dict[str, Instance]:
    """What each of the reads gives for an id."""
    return {
        "get": await held(storage, id),
        "get_many": (await storage.get_many([id]))[id],
        "query": (await storage.query(id=id))[0],
        "page": (await storage.query(id=id, limit=1))[0],
        "stream": [each async for each in storage.stream(id=id)][0],  # noqa: RUF015
    }


class Values(Suite):
    """What is stored comes back exactly, whichever verb wrote it and whichever reads it."""

    @pytest.mark.parametrize("value", list(_EXACT.values()), ids=list(_EXACT))
    async def test_json_comes_back_to_the_last_digit(
        self, storage: Storage, own: Own, value: Any
    ) -> None:
        written = await storage.insert(own.instance(context=Context({"value": value})))
        read = await held(storage, written.id)
        assert _shape(written.context.initial["value"]) == _shape(value)
        assert _shape(read.context.initial["value"]) == _shape(value)

    @pytest.mark.parametrize(("given", "stored"), list(_AS_JSON.values()), ids=list(_AS_JSON))
    async def test_other_values_are_stored_as_their_text_or_list(
        self, storage: Storage, own: Own, given: Any, stored: Any
    ) -> None:
        written = await storage.put(own.instance(context=Context({"value": given})))
        read = await held(storage, written.id)
        assert _shape(written.context.initial["value"]) == _shape(stored)
        assert _shape(read.context.initial["value"]) == _shape(stored)

    @pytest.mark.parametrize("value", list(_REFUSED.values()), ids=list(_REFUSED))
    async def test_what_cannot_be_stored_exactly_is_refused_with_its_path(
        self, storage: Storage, own: Own, value: Any
    ) -> None:
        before = await storage.put(own.instance())
        with pytest.raises(SerializationError) as caught:
            await storage.put(replace(before, context=Context({"deep": {"value": value}})))
        assert caught.value.path.startswith("context.initial.deep.value")
        assert asdict(await held(storage, before.id)) == asdict(before)

    async def test_every_field_comes_back(self, storage: Storage, own: Own) -> None:
        new = _rich(own)
        assert await storage.insert(new) == new
        assert await held(storage, new.id) == new

    async def test_every_status_comes_back(self, storage: Storage, own: Own) -> None:
        for status in Status:
            await storage.put(own.instance(status=status))
            assert (await held(storage, own.id())).status is status

    @pytest.mark.parametrize("verb", _WRITES)
    async def test_every_write_stores_and_gives_the_same(
        self, storage: Storage, own: Own, verb: str
    ) -> None:
        new = _rich(own)
        written = await _written(storage, verb, new)
        assert written == new
        assert asdict(await held(storage, new.id)) == asdict(written)

    async def test_every_read_gives_the_same(self, storage: Storage, own: Own) -> None:
        written = await storage.insert(_rich(own))
        for verb, instance in (await _read(storage, written.id)).items():
            assert asdict(instance) == asdict(written), verb

    async def test_moments_keep_their_microseconds_and_their_zone(
        self, storage: Storage, own: Own
    ) -> None:
        for zone in (UTC, _FAR_EAST, _WEST):
            moment = _MOMENT.astimezone(zone)
            entry = ExecutionEntry("Step", "started", moment)
            await storage.put(own.instance(due_at=moment, execution_history=(entry,)))
            read = await held(storage, own.id())
            assert read.due_at == moment
            assert read.execution_history[0].timestamp == moment

    async def test_the_history_keeps_its_order(self, storage: Storage, own: Own) -> None:
        entries = tuple(
            ExecutionEntry(f"Step{number % 3}", f"event {number}", _MOMENT - timedelta(number))
            for number in range(20)
        )
        await storage.insert(own.instance(execution_history=entries))
        assert (await held(storage, own.id())).execution_history == entries

    async def test_the_row_has_moments_in_utc(self, storage: Storage, own: Own) -> None:
        written = await storage.insert(own.instance())
        for moment in (written.inserted_at, written.updated_at):
            assert moment is not None
            assert moment.utcoffset() == timedelta()
            assert abs(moment - datetime.now(UTC)) < timedelta(days=1)

    async def test_state_that_this_version_does_not_know_is_kept(
        self, storage: Storage, own: Own
    ) -> None:
        unknown = {"added_later": {"deep": [1, 2.5, "x"]}}
        entry = ExecutionEntry("Step", "started", _MOMENT, unknown={"node": "a"})
        await storage.insert(own.instance(unknown_state=unknown, execution_history=(entry,)))
        read = await held(storage, own.id())
        assert read.unknown_state == unknown
        written = await storage.update(replace(read, status=Status.RUNNING))
        assert written.unknown_state == unknown
        again = await held(storage, own.id())
        assert again.unknown_state == unknown
        assert again.execution_history[0].unknown == {"node": "a"}

    async def test_ids_that_look_alike_are_different_rows(self, storage: Storage, own: Own) -> None:
        ids = [f"{own.id()}{each}" for each in _IDS]
        ids.append(own.id().ljust(255, "x"))
        for number, id in enumerate(ids):
            await storage.put(Instance(id, own.workflow, workflow_version=number + 1))
        for number, id in enumerate(ids):
            read = await held(storage, id)
            assert (read.id, read.workflow_version) == (id, number + 1)
        assert (await storage.get_many(ids)).keys() == set(ids)

    @pytest.mark.parametrize("verb", _WRITES)
    async def test_what_the_caller_changes_later_is_not_stored(
        self, storage: Storage, own: Own, verb: str
    ) -> None:
        given = {"list": [1]}
        written = await _written(storage, verb, own.instance(context=Context(given)))
        given["list"].append(2)
        written.context.initial["list"].append(3)
        read = await _read(storage, own.id())
        for reader, instance in read.items():
            assert instance.context.initial == {"list": [1]}, reader
            instance.context.initial["list"].append(4)
        assert (await held(storage, own.id())).context.initial == {"list": [1]}

    @pytest.mark.parametrize("verb", _WRITES)
    async def test_no_write_sets_an_owner_or_the_moments_of_the_row(
        self, storage: Storage, own: Own, verb: str
    ) -> None:
        given = own.instance(runner=UUID(int=7), inserted_at=_LONG_AGO, updated_at=_LONG_AGO)
        written = await _written(storage, verb, given)
        assert written.runner is None
        for moment in (written.inserted_at, written.updated_at):
            assert moment is not None
            assert moment > _LONG_AGO
        assert asdict(await held(storage, own.id())) == asdict(written)
