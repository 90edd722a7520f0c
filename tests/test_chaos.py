"""Everything breaks while the storage is under load: ``tests/chaos`` says how to run it long.

The check is checked first, with histories in which a promise is broken.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.history import SLACK, Call, History
from tests.chaos.runner import run
from tests.chaos.schedule import KINDS, schedule


def call(verb: str, id: str, began: float, ended: float, **rest: Any) -> Call:
    return Call(verb, id, began, ended, **{"timeout": 9, "outcome": "ok", **rest})


def broken(*calls: Call, rows: dict[str, tuple[int, int]] | None = None) -> int:
    history = History()
    for each in calls:
        history.add(each)
    if rows is not None:
        history.finish(rows, 99)
    return len(history.violations)


FIRST = call("put", "put::1", 0, 1, wrote=11, revision=1)
SECOND = call("put", "put::1", 2, 3, wrote=12, revision=2)
UNKNOWN = call("put", "put::1", 0, 1, wrote=11, outcome="unknown", error="ConnectionLostError")
REFUSED = UNKNOWN._replace(outcome="no")
HELD = call("insert", "slot::1", 0, 1, wrote=11, revision=1)
FREED = call("delete", "slot::1", 4, 5, seen=11)


def read(token: int | None, revision: int | None, began: float, ended: float) -> Call:
    return call(
        "get", "put::1", began, ended, seen=token, revision=revision, found=token is not None
    )


@pytest.mark.parametrize(
    "calls",
    (
        (FIRST, SECOND, read(12, 2, 4, 5)),
        (FIRST, read(11, 1, 2, 3), SECOND),
        (FIRST, read(12, 2, 2, 2.5), SECOND),  # it took effect before it ended
        (UNKNOWN, read(11, 1, 2, 3)),
        (UNKNOWN, read(None, None, 2, 3)),
        (UNKNOWN, SECOND, read(11, 3, 4, 5)),  # it may land at any time
        (REFUSED, read(None, None, 2, 3)),
        (HELD, call("insert", "slot::1", 2, 4.5, wrote=2_000_001, revision=1), FREED),
        (HELD, FREED._replace(outcome="no"), FREED),
    ),
)
def test_a_history_that_may_be_is_accepted(calls: tuple[Call, ...]) -> None:
    assert broken(*calls) == 0


@pytest.mark.parametrize(
    "calls",
    (
        (FIRST, SECOND, read(11, 3, 4, 5)),  # an acknowledged write is lost
        (FIRST, SECOND, read(12, 1, 4, 5)),  # the revision goes back
        (FIRST, read(None, None, 2, 3)),
        (REFUSED, read(11, 1, 2, 3)),
        (read(11, 1, 0, 0.5), REFUSED),
        (FIRST._replace(ended=9 + 2 * SLACK),),
        (FIRST._replace(outcome="fault", error="KeyError()"),),
        (
            call("update", "chain::1", 0, 1, wrote=11, revision=2),
            call("update", "chain::1", 0, 1, wrote=2_000_001, revision=2),  # a lost update
        ),
        (HELD, call("insert", "slot::1", 2, 3, wrote=2_000_001, revision=1), FREED),
        (HELD, call("get", "slot::1", 2, 3, seen=2_000_001, revision=1), FREED),
        (HELD, call("get", "slot::1", 2, 3, found=False), FREED),
        (HELD, FREED._replace(found=False)),
    ),
)
def test_a_broken_promise_is_found(calls: tuple[Call, ...]) -> None:
    assert broken(*calls) == 1


@pytest.mark.parametrize(
    ("calls", "rows"),
    (
        ((FIRST,), {}),
        ((FIRST, SECOND), {"put::1": (11, 2)}),
        ((REFUSED,), {"put::1": (11, 1)}),
        ((HELD,), {}),
        ((HELD,), {"slot::1": (2_000_001, 1)}),
    ),
)
def test_what_is_wrong_at_the_end_is_found(
    calls: tuple[Call, ...], rows: dict[str, tuple[int, int]]
) -> None:
    assert broken(*calls, rows=rows) == 1
    assert broken(FIRST, SECOND, rows={"put::1": (12, 2)}) == 0


def test_a_seed_gives_the_same_faults_again() -> None:
    def begin(seed: int) -> list[str]:
        return [str(fault) for fault, _ in zip(schedule(seed), range(50), strict=False)]

    assert begin(7) == begin(7) != begin(8)
    assert {line.partition(" +")[0] for line in begin(7)} == set(KINDS)


@pytest.mark.chaos
@pytest.mark.parametrize(("batching", "seconds"), ((True, 25), (False, 12)))
async def test_no_fault_breaks_a_promise(*, batching: bool, seconds: float) -> None:
    report = await run(seed=20261122, seconds=seconds, callers=200, batching=batching)
    print(report)
    assert report.violations == []
    assert sum(report.faults.values()) > seconds / 4
    assert report.history.outcomes["put", "ok"] > 10 * seconds


@pytest.mark.chaos
async def test_memory_and_open_files_stay_as_they_are() -> None:
    """``python -m tests.chaos --seconds 600`` is the long one, among faults."""
    report = await run(seed=20261122, faults=0, seconds=15)
    print(report)
    assert report.violations == []
    assert len(report.rests) >= 9
    # Where nothing breaks, nothing fails, but that a short deadline may pass on a busy machine.
    failures = set(report.history.errors)
    assert failures <= {"InstanceExistsError", "StaleInstanceError", "OperationTimeoutError"}
    assert "fault" not in {outcome for _, outcome in report.history.outcomes}
