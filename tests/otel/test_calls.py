"""Spans of calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import (
    ConnectionLostError,
    Instance,
    InstanceExistsError,
    OperationTimeoutError,
    StorageClosedError,
)

pytest.importorskip("opentelemetry.sdk", reason="the group test is not installed")

from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from tests.otel.recorded import Every, Recorded, given

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage
    from tests.support.faults import Faults
    from tests.support.starting import Start

SECRET = "order-4711"


def one(id: str = SECRET) -> Instance:
    return Instance.new("Orders", {"card": SECRET}, id=id)


async def test_a_call_is_a_child_of_the_callers_span(
    storage: AsyncStorage, recorded: Recorded
) -> None:
    with recorded.tracer.start_as_current_span("request") as request:
        await storage.put(one())
        assert get_current_span() is request
    [call] = recorded.calls("put")
    assert call.name == "put workflow_instances"
    assert call.kind is SpanKind.CLIENT
    assert call.parent == request.get_span_context()
    assert call.status.status_code is StatusCode.UNSET
    assert given(call)["db.namespace"].endswith(f"|{storage.schema}")


async def test_no_value_of_a_call_is_reported(
    storage: AsyncStorage, recorded: Recorded, faults: Faults
) -> None:
    error = ConnectionLostError(f"it was {SECRET}", applied="no", retryable=False)
    await storage.insert(one())
    with pytest.raises(InstanceExistsError, match=SECRET):
        await storage.insert(one())
    faults.refuse("get", error=error)
    with pytest.raises(ConnectionLostError, match=SECRET):
        await storage.get(SECRET)
    told = "".join(each.to_json() for each in recorded.spans)
    told += str(recorded.reader.get_metrics_data())
    assert "InstanceExistsError" in told
    assert SECRET not in told


async def test_an_error_is_reported_by_its_class(storage: AsyncStorage, recorded: Recorded) -> None:
    await storage.insert(one())
    with pytest.raises(InstanceExistsError):
        await storage.insert(one())
    call = recorded.calls("insert")[1]
    assert call.status.status_code is StatusCode.ERROR
    assert call.status.description is None
    assert not call.events
    assert given(call)["error.type"] == "InstanceExistsError"
    assert (
        recorded.number("hephaestus_pg.errors", operation="insert", error="InstanceExistsError")
        == 1
    )
    assert recorded.number("hephaestus_pg.calls", operation="insert") == 2


async def test_a_call_that_is_cancelled_ends_its_span(
    storage: AsyncStorage, recorded: Recorded, faults: Faults
) -> None:
    held = faults.delay("get")
    task = asyncio.create_task(storage.get("a"))
    await held.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    spans = [*recorded.calls("get"), *recorded.statements("get")]
    assert [given(each)["error.type"] for each in spans] == ["CancelledError"] * 2


async def test_a_deadline_ends_its_span(
    storage: AsyncStorage, recorded: Recorded, faults: Faults
) -> None:
    faults.delay("get")
    with pytest.raises(OperationTimeoutError, match="get"):
        await storage.get("a", timeout=0.05)
    [call] = recorded.calls("get")
    assert given(call)["error.type"] == "OperationTimeoutError"


@pytest.mark.parametrize("batching", (True, False))
async def test_in_a_trace_that_is_not_sampled_there_are_no_spans(
    start: Start, batching: bool
) -> None:
    recorded = Recorded(ParentBased(ALWAYS_OFF))
    async with start(telemetry=recorded.telemetry, batching=batching) as storage:
        await storage.put(one())  # its own trace
        with recorded.tracer.start_as_current_span("request"):
            await asyncio.gather(*[storage.put(one(f"a{i}")) for i in range(5)])
        assert recorded.number("hephaestus_pg.calls", operation="put") == 6
    assert recorded.spans == []


@pytest.mark.parametrize("batching", (True, False))
async def test_the_statement_of_a_call_that_is_not_sampled_is_not_either(
    start: Start, batching: bool
) -> None:
    recorded = Recorded(Every("put"))
    async with start(telemetry=recorded.telemetry, batching=batching) as storage:
        recorded.forget()
        await storage.get("a")
        await asyncio.gather(storage.get("a"), storage.get("a"))
        assert recorded.spans == []
        await storage.put(one())
    assert len(recorded.spans) == 2


async def test_a_call_within_one_that_is_not_sampled_is_not_either(start: Start) -> None:
    recorded = Recorded(Every("get"))
    async with start(telemetry=recorded.telemetry) as storage:
        recorded.forget()
        async with storage.transaction() as transaction:
            await transaction.get(SECRET)
        assert recorded.spans == []
        await storage.get(SECRET)
        assert len(recorded.calls("get")) == 1


@pytest.mark.parametrize("batching", (True, False))
async def test_by_default_a_single_call_outside_a_trace_leaves_that_to_its_statement(
    start: Start, batching: bool
) -> None:
    recorded = Recorded(root_calls=False)
    async with start(telemetry=recorded.telemetry, batching=batching) as storage:
        recorded.forget()
        await asyncio.gather(*[storage.put(one(f"a{i}")) for i in range(5)])
        assert recorded.calls("put") == []
        assert {each.parent for each in recorded.spans} == {None}
        assert len(recorded.spans) == (2 if batching else 5)  # the first goes at once
        await storage.ping()
        assert len(recorded.calls("ping")) == 1
        with recorded.tracer.start_as_current_span("request"):
            await storage.put(one())
    assert len(recorded.calls("put")) == 1


async def test_a_trace_that_began_elsewhere_goes_on(start: Start) -> None:
    recorded = Recorded(ParentBased(ALWAYS_OFF))
    async with start(telemetry=recorded.telemetry) as storage:
        remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        token = attach(set_span_in_context(NonRecordingSpan(remote)))
        await storage.put(one())
        detach(token)
    [call] = recorded.calls("put")
    assert call.parent == remote


async def test_what_happens_in_a_transaction_is_below_it(
    storage: AsyncStorage, recorded: Recorded
) -> None:
    async with storage.transaction() as transaction:
        await transaction.put(one())
        inside = get_current_span()
    assert not get_current_span().is_recording()
    [around], [call], [statement] = (
        recorded.calls("transaction"),
        recorded.calls("put"),
        recorded.statements("put"),
    )
    assert inside.get_span_context() == around.context
    assert (call.parent, statement.parent) == (around.context, call.context)


async def test_a_transaction_may_end_in_another_context(
    storage: AsyncStorage, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    transaction = storage.transaction()
    await asyncio.create_task(transaction.__aenter__())
    with recorded.tracer.start_as_current_span("other") as other:
        await transaction.__aexit__(None, None, None)
        assert get_current_span() is other
    assert len(recorded.calls("transaction")) == 1
    assert caplog.records == []


async def test_a_call_that_may_not_begin_has_no_span(
    storage: AsyncStorage, recorded: Recorded
) -> None:
    await storage.close()
    with pytest.raises(StorageClosedError):
        await storage.put(one())
    assert recorded.spans == []
