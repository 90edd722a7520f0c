"""Spans and metrics of statements."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import Instance, RejectedError
from tests.support.lag import happens

pytest.importorskip("opentelemetry.sdk", reason="the group test is not installed")

from opentelemetry.trace import SpanKind, StatusCode

from tests.otel.recorded import Every, Recorded, given

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage
    from tests.support.faults import Faults, FaultsOf
    from tests.support.starting import Start


def named(id: str) -> Instance:
    return Instance.new("Orders", {}, id=id)


async def gathered(
    storage: AsyncStorage, faults: Faults, recorded: Recorded, ids: list[str]
) -> None:
    """Put these in one statement, while one is under way for each worker, each in a trace."""
    held = [faults.delay("get") for _ in range(2)]
    gets = [asyncio.create_task(storage.get(f"other-{i}")) for i in range(2)]
    for each in held:
        await each.started.wait()

    async def put(id: str) -> None:
        with recorded.tracer.start_as_current_span(id):
            await storage.put(named(id))

    puts = [asyncio.create_task(put(id)) for id in ids]
    await happens(lambda: storage.process_stats().calls_queued == len(ids) + 2)
    for each in held:
        each.release()
    await asyncio.gather(*gets, *puts, return_exceptions=True)


async def test_the_statement_of_a_single_call_is_its_child(
    storage: AsyncStorage, recorded: Recorded
) -> None:
    await storage.put(named("a"))
    [call], [statement] = recorded.calls("put"), recorded.statements("put")
    assert statement.parent == call.context
    assert statement.kind is SpanKind.CLIENT
    assert statement.name == given(statement)["db.query.summary"] == "put workflow_instances"
    told = given(statement)
    assert told["db.system.name"] == "postgresql"
    assert told["server.port"] > 0
    assert told["hephaestus_pg.execution.duration"] > 0
    assert told["hephaestus_pg.connection.wait_time"] >= 0
    assert told["hephaestus_pg.tries"] == 1
    assert not told.keys() & {"db.query.text", "db.operation.batch.size"}


async def test_that_of_several_is_a_root_with_links_to_all_of_them(
    storage: AsyncStorage, recorded: Recorded, faults: Faults
) -> None:
    await gathered(storage, faults, recorded, ["a", "b", "c"])
    [batch] = recorded.statements("BATCH put")
    calls = recorded.calls("put")
    assert batch.name == "BATCH put workflow_instances"
    assert batch.parent is None
    assert {link.context.span_id for link in batch.links} == {_id(each) for each in calls}
    assert len(calls) == given(batch)["db.operation.batch.size"] == 3
    for call in calls:
        told = given(call)
        assert [link.context for link in call.links] == [batch.context]
        assert told["db.operation.batch.size"] == 3
        assert told["hephaestus_pg.gathering.duration"] > 0
        assert told["hephaestus_pg.execution.duration"] > 0
    longest = max(given(call)["hephaestus_pg.gathering.duration"] for call in calls)
    assert given(batch)["hephaestus_pg.gathering.duration"] == longest


async def test_a_gathered_call_that_goes_alone_has_its_statement_as_a_child(
    storage: AsyncStorage, recorded: Recorded, faults: Faults
) -> None:
    await gathered(storage, faults, recorded, ["a"])
    [call], [statement] = recorded.calls("put"), recorded.statements("put")
    assert statement.parent == call.context
    assert given(statement)["hephaestus_pg.gathering.duration"] > 0


async def test_nor_is_it_sampled_where_its_call_is_not(start: Start, faults_of: FaultsOf) -> None:
    recorded = Recorded(Every("put"))
    async with start(telemetry=recorded.telemetry) as storage:
        await gathered(storage, faults_of(storage), recorded, ["a"])
    assert recorded.statements("put") == []


async def test_the_halves_of_a_batch_that_was_refused_link_to_their_own_calls(
    storage: AsyncStorage, recorded: Recorded, faults: Faults
) -> None:
    refused = RejectedError("no", applied="no", retryable=False)
    refused.sqlstate = "23514"
    faults.refuse("BATCH put", error=refused)
    await gathered(storage, faults, recorded, ["a", "b", "c", "d"])
    whole, *halves = sorted(
        recorded.statements("BATCH put"), key=lambda each: -given(each)["db.operation.batch.size"]
    )
    assert [len(each.links) for each in (whole, *halves)] == [4, 2, 2]
    assert whole.status.status_code is StatusCode.ERROR
    assert given(whole)["db.response.status_code"] == "23514"
    assert given(whole)["error.type"] == "RejectedError"
    assert all(call.status.status_code is StatusCode.UNSET for call in recorded.calls("put"))


@pytest.mark.parametrize("batching", (True, False))
async def test_the_time_of_each_statement_is_measured(
    start: Start, recorded: Recorded, batching: bool
) -> None:
    async with start(telemetry=recorded.telemetry, batching=batching) as storage:
        await storage.put(named("a"))
        [took] = recorded.points("db.client.operation.duration", operation="put")
        waits = recorded.points("db.client.connection.wait_time")
        uses = recorded.points("db.client.connection.use_time")
    counts = [each.count for each in (*waits, *uses)]
    assert (took.count, counts) == (1, [2, 2])  # with the look at the schema
    assert took.sum > 0
    assert dict(took.attributes)["db.namespace"].endswith(f"|{storage.schema}")


async def test_gathering_and_batches_are_measured(
    storage: AsyncStorage, recorded: Recorded, faults: Faults
) -> None:
    await gathered(storage, faults, recorded, ["a", "b", "c"])
    [time] = recorded.points("hephaestus_pg.gathering.duration", operation="put")
    assert (time.count, time.sum > 0) == (1, True)
    assert recorded.number("hephaestus_pg.batches", size=4) == 1
    assert recorded.number("hephaestus_pg.batches", size=1) == 2


async def test_tries_are_counted(storage: AsyncStorage, recorded: Recorded, faults: Faults) -> None:
    faults.break_connection("put", times=2)
    await storage.put(named("a"))
    [statement] = recorded.statements("put")
    assert given(statement)["hephaestus_pg.tries"] == 3
    assert recorded.number("hephaestus_pg.retries") == 2
    assert recorded.number("hephaestus_pg.failed_tries") == 2
    assert recorded.number("hephaestus_pg.backends_terminated") == 2
    assert recorded.number("hephaestus_pg.errors") == 0


async def test_the_text_of_a_statement_is_told_on_request(start: Start) -> None:
    recorded = Recorded(query_text=True)
    async with start(telemetry=recorded.telemetry) as storage:
        await storage.put(named("a"))
        async with storage.transaction() as transaction:
            await transaction.get("a")
    for operation in ("put", "get"):
        [statement] = recorded.statements(operation)
        assert "workflow_instances" in given(statement)["db.query.text"]
        assert "$1" in given(statement)["db.query.text"]


def _id(span: object) -> int:
    context = getattr(span, "context", None)
    assert context is not None
    return int(context.span_id)
