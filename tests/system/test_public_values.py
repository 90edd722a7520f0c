"""Every value of the public door may be copied, pickled, sent to another process and taken apart.

Wherever it comes from: made by hand, given back by a write, or read.
"""

from __future__ import annotations

import copy
import inspect
import json
import operator
import pickle
import pprint
import sys
from collections import Counter, OrderedDict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from multiprocessing import get_context
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

import hephaestus_pg
from hephaestus_pg import (
    AsyncStorage,
    Context,
    ExecutionEntry,
    Filters,
    HephaestusError,
    Instance,
    InvalidTypeError,
    LoadedClasses,
    NamedClasses,
    Names,
    RunnerInfo,
    SerializationError,
    Serializer,
    Status,
    errors,
    migrations,
)
from tests.test_errors import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable

# What these name is no value: a storage lives in one process, a protocol and a module are code.
NO_VALUES = {
    "AsyncStorage",
    "Claim",
    "References",
    "Runner",
    "Storage",
    "business_key",
    "migrations",
}

TEXTS = ("2026-04-06T12:00:00.5Z", "2026-04-06T12:00:00.123456789Z", "2026-04-06T14:00:00+02:00")
CEST = timezone(timedelta(hours=2))

# As an old version, or somebody by hand, may have written them.
STATES = [
    {},
    {
        "later": [1],
        "context": {"initial": {"a": 1}, "steps": {}, "shared": {}},
        "execution_history": [
            {"step_ref": "S", "event": "e", "timestamp": text, "context_updates": None, "node": "n"}
            for text in TEXTS
        ],
    },
]


def full(references: Any = None) -> Instance:
    step = OrderedDict if references else "S"
    return Instance(
        "full",
        Counter if references else "W",
        status=Status.WAITING,
        current_step=step,
        context=Context({"n": 2**70, "f": 1e25, "m": {"x": [1, None]}}, {"s": {"at": 1}}),
        step_configs={step: {"retries": 3}},
        active_steps=frozenset({step}),
        runtime_metadata={"trace": "t"},
        execution_history=(
            ExecutionEntry(step, "begun", datetime(2026, 4, 6, 12, tzinfo=UTC)),
            ExecutionEntry(step, "done", datetime(2026, 4, 6, 14, tzinfo=CEST), {"n": 1}),
        ),
    )


async def instances(storage: AsyncStorage) -> list[Instance]:
    """Instances from every verb that gives one, and some made by hand."""
    made = [Instance.new("W", {"a": (1,)}, id="new"), Instance("bare", "W"), full()]
    written = [await storage.put(each) for each in made]
    written.append(await storage.insert(Instance.new("W", {}, id="inserted")))
    written.append(await storage.update(replace(written[0], status=Status.RUNNING)))
    written += await storage.put_many([replace(each, id=f"many::{each.id}") for each in made])
    async with storage.transaction() as tx:
        written.append(await tx.put(replace(full(), id="inside")))
        for n, state in enumerate(STATES):
            await tx.connection.execute(
                f"INSERT INTO {storage.schema}.workflow_instances"
                " (id, workflow, status, state, inserted_at, updated_at)"
                " VALUES ($1, 'W', 'failed', $2::text::jsonb, now(), now())",
                f"theirs::{n}",
                json.dumps(state),
            )
    queried = await storage.query()
    ids = [each.id for each in queried]
    got = [await storage.get(id) for id in ids]
    many = await storage.get_many(ids)
    streamed = [each async for each in storage.stream()]
    assert len(ids) == len(got) == len(many) == len(streamed) == 10
    read = [*queried, *filter(None, got), *many.values(), *streamed]
    return [*made, *written, *read, replace(read[0], status=Status.FAILED)]


def caused(cause: BaseException) -> HephaestusError:
    try:
        raise errors.UnavailableError("no", applied="no", retryable=True) from cause
    except HephaestusError as error:
        return error


def failures() -> list[HephaestusError]:
    """Every error, and some with a cause, from the driver and from a stored row."""
    unreadable = Serializer(NamedClasses({}))
    try:
        unreadable.from_db("x", "os.system", "pending", 1, {})
    except HephaestusError as error:
        corrupt = error
    driver = asyncpg.PostgresError.new({"C": "40P01", "M": "deadlock", "S": "ERROR"})
    return [*EXAMPLES, corrupt, *map(caused, (driver, OSError(111, "refused"), KeyError("a")))]


async def values(storage: AsyncStorage, dsn: str) -> dict[str, list[Any]]:
    """Examples for each public name that names values, those of ``migrations`` included."""
    index = await migrations.index(dsn, profile="none", schema=storage.schema)
    down = await migrations.down(dsn, schema=storage.schema, version=3)
    plan = await migrations.plan(dsn, schema=storage.schema)
    up = await migrations.up(dsn, schema=storage.schema)
    status = await migrations.status(dsn, schema=storage.schema)
    held = await instances(storage)
    named = NamedClasses({"order": OrderedDict})
    warm, now = LoadedClasses(), datetime.now(UTC)
    warm.to_name(OrderedDict)
    by_id = migrations.Distribution("id", 8)
    move = migrations.DistributionPlan(
        storage.schema, None, by_id, 9, 8192, obstacles=(migrations.Difference("a view", "drop"),)
    )
    references: list[Any] = [LoadedClasses(), warm, LoadedClasses(allow_main=True), named, Names()]
    found: dict[str, list[Any]] = {
        "Instance": [*held, Serializer().decode(row_of(full(references)))],
        "Context": [each.context for each in held],
        "ExecutionEntry": [entry for each in held for entry in each.execution_history],
        "Stats": [await storage.stats()],
        "ProcessStats": [storage.process_stats()],
        "InstanceCount": [*(await storage.stats()).instances],
        "Summary": [each async for each in storage.summaries()],
        "Stuck": await storage.stuck(older_than=timedelta()),
        "RunnerInfo": [RunnerInfo(UUID(int=1), "worker-7", ("W",), now, now, 3)],
        "Status": [*Status, Status.ACTIVE, Status.FINISHED],
        "Filters": [Filters(status="failed", inserted_before=datetime.now(UTC))],
        "LoadedClasses": references[:3],
        "NamedClasses": [named],
        "Names": [Names()],
        "Serializer": [Serializer(each, max_state_bytes=2000) for each in references],
        "IndexResult": [index],
        "MigrationResult": [down, up],
        "MigrationStatus": [*status.migrations],
        "SchemaStatus": [status],
        "Difference": [migrations.Difference("the table has no primary key", "run up")],
        "Distribution": [by_id],
        "DistributionPlan": [move],
        "DistributionResult": [migrations.DistributionResult(storage.schema, by_id, None, 1.5)],
        "Step": [*down.steps, *up.steps],
        "MigrationPlan": [plan],
        "PlannedStep": [*plan.steps],
    }
    for error in failures():
        found.setdefault(type(error).__name__, []).append(error)
    return found


def row_of(instance: Instance) -> Any:
    new = Serializer().encode(instance)
    return (*new.columns[:3], instance.workflow_version, new.state, 7, 1.7e9, 1.7e9, None, None)


def shown(value: Any) -> Any:
    """All that can be seen of a value, as what can be compared."""
    if isinstance(value, HephaestusError):
        return str(value), value.args, vars(value), repr(value.__cause__)
    if isinstance(value, Serializer):
        return shown(value.references), {**vars(value), "references": None}
    if isinstance(value, NamedClasses | Names):
        return value, hash(value), repr(value), vars(value)
    if isinstance(value, LoadedClasses):
        found = value.to_name(OrderedDict), value.to_reference("builtins.dict")
        return value, hash(value), repr(value), found
    if is_dataclass(value):
        seen = [getattr(value, field.name) for field in fields(value)]
        if isinstance(value, Instance):
            stored = Serializer(LoadedClasses() if isinstance(value.workflow, type) else Names())
            seen.append(stored.encode(value).state)  # with the texts of its timestamps
        return value, repr(value), pprint.pformat(value), seen
    return value if isinstance(value, frozenset) else (value, repr(value))


def through_a_spawned_process(value: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(operator.itemgetter(0), [value]).result(timeout=60)


def pickled(protocol: int, value: Any) -> Any:
    return pickle.loads(pickle.dumps(value, protocol))


WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "process": through_a_spawned_process,
}
WAYS |= {f"pickle {n}": partial(pickled, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)}


async def test_every_public_name_has_its_values(storage: AsyncStorage, dsn: str) -> None:
    named = {name for name in migrations.__all__ if inspect.isclass(getattr(migrations, name))}

    found = await values(storage, dsn)

    assert {*hephaestus_pg.__all__, *named} - NO_VALUES == set(found)
    assert all(found.values())


@pytest.mark.parametrize("way", WAYS)
async def test_a_value_that_is_copied_or_sent_is_the_same(
    storage: AsyncStorage, dsn: str, way: str
) -> None:
    found = await values(storage, dsn)
    if way == "process":  # which takes a while to start
        sent = WAYS[way](found)
    else:
        sent = {name: [WAYS[way](each) for each in every] for name, every in found.items()}

    for name, every in found.items():
        for value, twin in zip(every, sent[name], strict=True):
            assert type(twin) is type(value)
            assert shown(twin) == shown(value)


async def test_a_value_can_be_taken_apart_and_made_again(storage: AsyncStorage, dsn: str) -> None:
    for every in (await values(storage, dsn)).values():
        for value in filter(is_dataclass, every):
            assert not isinstance(value, type)
            apart = asdict(value)
            assert list(apart) == [field.name for field in fields(value)]
            assert len(astuple(value)) == len(apart)
            json.dumps({name: repr(part) for name, part in apart.items()})
            assert shown(replace(value)) == shown(value)
            if sys.version_info >= (3, 13):
                assert shown(copy.replace(value)) == shown(value)


async def test_what_is_taken_apart_is_plain_to_the_last_map(storage: AsyncStorage) -> None:
    await instances(storage)

    for instance in await storage.query():
        json.dumps(asdict(instance), default=str)


async def test_no_two_values_share_a_map_that_may_be_changed(storage: AsyncStorage) -> None:
    await storage.put_many([Instance("a", "W"), Instance("b", "W")])

    first, second = await storage.query()
    first.unknown_state["later"] = 1  # type: ignore[index]

    assert second.unknown_state == {}


async def test_what_a_write_gives_back_is_plain_whatever_it_was_given(
    storage: AsyncStorage,
) -> None:
    given = OrderedDict(a=MappingProxyType({"b": Counter("x")}))
    instance = Instance.new("W", MappingProxyType({"given": given}), id="x")
    instance = replace(instance, runtime_metadata=given)

    for written in [await storage.put(instance), *await storage.put_many([instance])]:
        assert shown(pickle.loads(pickle.dumps(written))) == shown(written)
        read = await storage.get("x")
        assert repr(written.context) == repr(read.context if read else None)
        assert repr(written.runtime_metadata) == "{'a': {'b': {'x': 1}}}"


async def test_keys_are_in_the_servers_order_and_zero_has_no_sign(storage: AsyncStorage) -> None:
    await storage.put(Instance.new("W", {"bb": -0.0, "a": 1, "ab": 2}, id="x"))

    read = await storage.get("x")

    assert read is not None
    assert repr(read.context.initial) == "{'a': 1, 'ab': 2, 'bb': 0.0}"


def test_references_are_equal_if_they_translate_alike() -> None:
    assert len({Names(), Names(), LoadedClasses(), LoadedClasses()}) == 2
    assert LoadedClasses() != LoadedClasses(allow_main=True)
    assert NamedClasses({"a": dict}) == NamedClasses({"a": dict}) != NamedClasses({"a": list})


def test_an_instance_is_no_key_but_its_id_is() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Instance("x", "W"))
    assert hash(Status.FAILED) == hash("failed")
    assert hash(ExecutionEntry("S", "e", datetime(2026, 4, 6, tzinfo=UTC)))


class Keyword(Exception):  # noqa: N818 - as users name them
    """An error that can be pickled, but not made again from that."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(reason)


@pytest.mark.parametrize(
    "cause", (Keyword(reason="theirs"), type("Local", (Exception,), {})("theirs"))
)
def test_an_error_about_what_cannot_be_sent_goes_without_it(cause: Exception) -> None:
    error = caused(cause)
    error.__dict__["value"] = value = lambda: 1

    kept = copy.copy(error)
    sent = pickle.loads(pickle.dumps(error))

    assert (kept.__cause__, vars(kept)["value"]) == (cause, value)
    assert str(sent) == str(error)
    assert "theirs" in str(sent.__cause__)
    assert vars(sent)["value"].startswith("<function ")


class Order(Instance):
    """As a user extends it with what he asks an order."""

    @property
    def amount(self) -> Any:
        return self.context.initial["amount"]


@dataclass(frozen=True, slots=True)
class TrackedOrder(Instance):
    parcel: str = "JD0146"


class TestSubclassesOfInstance:
    async def test_one_with_methods_goes_through_every_verb(self, storage: AsyncStorage) -> None:
        order = Order.new("W", {"amount": 99}, id="x")
        assert order.amount == 99

        inserted = await storage.insert(order)
        updated = await storage.update(replace(order, revision=inserted.revision))
        put = await storage.put(order)
        [many] = await storage.put_many([order])
        read = await storage.get("x")

        # What comes back is an Instance, whatever was given.
        assert inserted == updated == put == many == read
        assert {type(each) for each in (inserted, updated, put, many, read)} == {Instance}

    async def test_one_with_a_field_is_refused_by_every_verb(self, storage: AsyncStorage) -> None:
        order = TrackedOrder("x", "W", revision=1)

        for refused in (
            storage.put(order),
            storage.insert(order),
            storage.update(order),
            storage.put_many([Instance("y", "W"), order]),
        ):
            with pytest.raises(InvalidTypeError, match="parcel of TrackedOrder would not be"):
                await refused
        assert await storage.count() == 0


async def test_a_record_of_the_driver_is_refused_with_what_to_store(storage: AsyncStorage) -> None:
    async with storage.transaction() as tx:
        record = await tx.connection.fetchrow("SELECT 1 AS number")
        with pytest.raises(SerializationError, match=r"^context\.initial\.row: .*dict\(value\)"):
            await tx.put(Instance.new("W", {"row": record}, id="x"))
        assert record is not None
        put = await tx.put(Instance.new("W", {"row": dict(record)}, id="x"))
    assert put.context.initial == {"row": {"number": 1}}


@pytest.mark.parametrize("way", (copy.copy, copy.deepcopy, pickle.dumps))
async def test_a_storage_stays_in_its_process(
    storage: AsyncStorage, way: Callable[[Any], Any]
) -> None:
    async with storage.transaction() as tx:
        for each in (storage, tx, storage.using(tx.connection)):
            with pytest.raises(InvalidTypeError, match=r"^storage is .*start one there"):
                way(each)
