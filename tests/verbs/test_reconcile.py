"""Reconciling: the row tells what became of a write whose answer was lost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from hephaestus_pg import (
    AccessDeniedError,
    AsyncStorage,
    ConnectionLostError,
    Instance,
    OperationTimeoutError,
    StaleInstanceError,
    Status,
)
from hephaestus_pg.verbs import reconcile

if TYPE_CHECKING:
    from asyncpg import Record

    from tests.support.faults import Faults, FaultsOf

pytestmark = pytest.mark.quick


def order(id: str = "orderid::1", **fields: Any) -> Instance:
    return Instance(id, "Order", **fields)


def row(revision: int) -> Record:
    """A row as the table holds it: every column is text."""
    return cast("Record", {"revision": str(revision)})


@pytest.mark.parametrize(
    ("held", "equal", "verdict"),
    (
        (None, False, "retry"),
        (row(1), True, "applied"),
        (row(1), False, "unknown"),
    ),
)
def test_the_row_tells_what_became_of_an_insert(
    held: Record | None, equal: bool, verdict: str
) -> None:
    assert reconcile.insert(held, equal=equal) == verdict


@pytest.mark.parametrize(
    ("held", "equal", "verdict"),
    (
        (None, False, "unknown"),  # deleted since, or never there
        (row(7), False, "retry"),
        (row(7), True, "retry"),  # it would change nothing but the revision
        (row(8), True, "applied"),
        (row(8), False, "retry"),  # another was first: the next try says so
        (row(9), True, "unknown"),
        (row(6), True, "unknown"),
    ),
)
def test_the_row_tells_what_became_of_an_update(
    held: Record | None, equal: bool, verdict: str
) -> None:
    assert reconcile.update(held, 7, equal=equal, equal_counts=True) == verdict
    if verdict == "applied":
        verdict = "unknown"  # where another may have written the same
    assert reconcile.update(held, 7, equal=equal, equal_counts=False) == verdict


@pytest.mark.parametrize(
    ("held", "expected", "verdict"),
    (
        (None, None, "applied"),
        (None, "7", "applied"),
        (row(7), None, "retry"),
        (row(7), "7", "retry"),
        (row(8), "7", "unknown"),
    ),
)
def test_the_row_tells_what_became_of_a_delete(
    held: Record | None, expected: str | None, verdict: str
) -> None:
    assert reconcile.delete(held, expected) == verdict


@pytest.fixture
def faults(small: AsyncStorage, faults_of: FaultsOf) -> Faults:
    return faults_of(small)


def lose(faults: Faults, *, applied: bool) -> None:
    if applied:
        faults.lose_answer()
    else:
        faults.break_connection()


@pytest.mark.parametrize("applied", (True, False))
async def test_an_update_finds_out_whether_it_was_applied(
    small: AsyncStorage, faults: Faults, applied: bool
) -> None:
    held = await small.insert(order())
    lose(faults, applied=applied)

    updated = await small.update(replace(held, status=Status.RUNNING))

    assert updated.revision == (held.revision or 0) + 1
    assert await small.get(held.id) == updated


async def test_an_update_that_another_one_beat_is_stale(
    small: AsyncStorage, faults: Faults
) -> None:
    held = await small.insert(order())
    other = await small.put(replace(held, runtime_metadata={"other": True}))
    faults.break_connection()

    with pytest.raises(StaleInstanceError) as caught:
        await small.update(replace(held, status=Status.RUNNING))
    assert (caught.value.expected, caught.value.found) == (held.revision, other.revision)


async def test_what_cannot_be_found_out_is_said(small: AsyncStorage, faults: Faults) -> None:
    held = await small.insert(order())
    await small.put(held)
    await small.put(held)
    faults.break_connection()

    with pytest.raises(ConnectionLostError) as caught:
        await small.update(replace(held, status=Status.RUNNING))
    assert caught.value.applied == "unknown"


@pytest.mark.parametrize("applied", (True, False))
@pytest.mark.parametrize("replace_finished", (True, False))
async def test_an_insert_finds_out_whether_it_was_applied(
    small: AsyncStorage, faults: Faults, applied: bool, replace_finished: bool
) -> None:
    failed = None
    if replace_finished:
        failed = await small.insert(order(status=Status.FAILED))
    lose(faults, applied=applied)
    new = order(runtime_metadata={"mine": True})
    if replace_finished and not applied:
        # Whether the row is the one it was to replace, or its own and finished, nobody can say.
        with pytest.raises(ConnectionLostError):
            await small.insert(new, replace_finished=True)
        return

    inserted = await small.insert(new, replace_finished=replace_finished)

    if failed is not None:
        assert inserted.revision == (failed.revision or 0) + 1
    assert await small.get(inserted.id) == inserted


async def test_a_mark_of_its_own_tells_an_insert_from_its_like(
    small: AsyncStorage, faults: Faults
) -> None:
    await small.insert(order(runtime_metadata={"runner": "one"}))
    faults.break_connection()

    # Whether it came before the row that is there, and went again, nobody can say.
    with pytest.raises(ConnectionLostError) as caught:
        await small.insert(order(runtime_metadata={"runner": "two"}))
    assert caught.value.applied == "unknown"


async def test_an_insert_that_another_one_beat_is_in_doubt(
    small: AsyncStorage, faults: Faults
) -> None:
    other = await small.insert(order(workflow_version=2))
    faults.break_connection()

    with pytest.raises(ConnectionLostError) as caught:
        await small.insert(order())
    assert caught.value.applied == "unknown"
    assert await small.get(other.id) == other


@pytest.mark.parametrize("applied", (True, False))
@pytest.mark.parametrize("by_revision", (False, True))
async def test_a_delete_finds_out_whether_it_was_applied(
    small: AsyncStorage, faults: Faults, applied: bool, by_revision: bool
) -> None:
    held = await small.insert(order())
    revision = held.revision if by_revision else None
    lose(faults, applied=applied)
    assert await small.delete("orderid::1", revision=revision) is True
    assert await small.count() == 0


async def test_a_failed_look_leaves_it_unknown(small: AsyncStorage, faults: Faults) -> None:
    held = await small.insert(order())
    for name, write in (
        ("update", small.update(replace(held, status=Status.RUNNING))),
        ("insert", small.insert(order("x"))),
        ("delete", small.delete(held.id)),
    ):
        faults.lose_answer(name)
        faults.refuse("get", error=OperationTimeoutError("too late", applied="no", retryable=True))
        with pytest.raises(ConnectionLostError) as caught:
            await write
        assert caught.value.applied == "unknown"


@pytest.mark.parametrize("unknown", ("timeout", "unfenced"))
async def test_what_may_still_be_under_way_is_not_looked_for(
    small: AsyncStorage, faults: Faults, unknown: str
) -> None:
    held = await small.insert(order())
    if unknown == "timeout":  # such as a command_timeout of the pool's, before the deadline
        late = OperationTimeoutError("too late", applied="unknown", retryable=True)
        faults.refuse("update", error=late)
    else:
        faults.lose_answer("update")
        denied = AccessDeniedError("not yours", applied="no", retryable=False)
        faults.refuse("terminate_backend", error=denied)
    with pytest.raises((OperationTimeoutError, ConnectionLostError)) as caught:
        await small.update(replace(held, status=Status.RUNNING))
    assert caught.value.applied == "unknown"
    assert "get" not in faults.tried
