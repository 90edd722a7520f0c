"""Everything breaks while the storage is under load: ``tests/chaos`` says how to run it long.

The check is checked first, with histories in which a promise is broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hephaestus_pg import (
        AsyncStorage,
    )
    from tests.support.starting import Start

import asyncio
import json
from time import sleep
from typing import Any

import pytest

from tests.chaos import history as history_module
from tests.chaos import load as load_module
from tests.chaos.history import SLACK, Call, History
from tests.chaos.load import POOL, Caller, Load
from tests.chaos.run import Report, run
from tests.chaos.schedule import KINDS, schedule
from tests.support.lag import Lag


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
AGAIN = call("get", "slot::1", 6, 7, seen=11, revision=1)
BRIEF = call("put", "brief::1", 0, 1, wrote=11, revision=1)
REMOVED = call("delete", "brief::1", 2, 3, wrote=12, removed=True)
MAYBE_REMOVED = REMOVED._replace(outcome="unknown", error="ConnectionLostError", found=False)
MAYBE_BRIEF = BRIEF._replace(outcome="unknown", error="ConnectionLostError")
ANEW = call("put", "brief::1", 4, 5, wrote=13, revision=1)
ONE = call("modify", "tally::1", 0, 1, seen=1, revision=2)
TWO = call("modify", "tally::1", 0, 2, seen=2, revision=3)
OLD = call("transaction", "old::1", 0, 1, wrote=11, revision=1)


def read(
    token: int | None, revision: int | None, began: float, ended: float, *, id: str = "put::1"
) -> Call:
    return call("get", id, began, ended, seen=token, revision=revision, found=token is not None)


def none(began: float, ended: float, id: str = "brief::1") -> Call:
    return read(None, None, began, ended, id=id)


def brief(token: int, began: float, ended: float) -> Call:
    return read(token, 1, began, ended, id="brief::1")


def old(token: int, began: float, ended: float) -> Call:
    return read(token, 1, began, ended, id="old::1")


@pytest.mark.parametrize(
    "calls",
    (
        (FIRST, SECOND, read(12, 2, 4, 5)),
        (FIRST._replace(ended=9 + 2 * SLACK, lag=SLACK),),
        (FIRST, read(11, 1, 2, 3), SECOND),
        (FIRST, read(12, 2, 2, 2.5), SECOND),  # it took effect before it ended
        (UNKNOWN, read(11, 1, 2, 3)),
        (UNKNOWN, read(None, None, 2, 3)),
        (UNKNOWN, SECOND, read(11, 3, 4, 5)),  # it may be applied at any time
        (REFUSED, read(None, None, 2, 3)),
        (HELD, call("insert", "slot::1", 2, 4.5, wrote=2_000_001, revision=1), FREED),
        (HELD, FREED._replace(outcome="no"), FREED),
        (HELD, FREED, AGAIN._replace(began=4.5)),  # it was read before it was deleted
        (HELD, FREED._replace(outcome="unknown", error="ConnectionLostError"), AGAIN),
        (HELD, FREED._replace(outcome="no"), AGAIN),
        (BRIEF, REMOVED, none(4, 5)),
        (BRIEF, none(2, 2.5), REMOVED),  # it took effect before it ended
        (BRIEF, brief(11, 2, 2.5), REMOVED),
        (BRIEF, REMOVED, none(0, 3.5), brief(11, 2.9, 3.9)),
        (BRIEF, REMOVED, ANEW, brief(13, 6, 7)),
        (BRIEF, REMOVED, none(2.9, 6), ANEW),  # neither one was there, for a moment
        (BRIEF, MAYBE_REMOVED, none(4, 5), brief(11, 6, 7), none(8, 9)),
        (BRIEF, MAYBE_REMOVED, ANEW, none(6, 7)),  # it may be applied at any time
        (MAYBE_BRIEF, REMOVED, brief(11, 4, 5)),  # so may this
        (MAYBE_BRIEF, REMOVED._replace(found=False), none(4, 5)),
        (OLD, none(2, 3, "old::1"), none(4, 5, "old::1")),
        (OLD, none(2, 3, "old::1"), old(11, 2.5, 3.5)),
        (OLD, none(2, 3, "old::1"), OLD._replace(began=4, ended=5, wrote=12), old(12, 6, 7)),
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
        (FIRST._replace(ended=9 + 2 * SLACK, lag=SLACK / 2),),
        (FIRST._replace(outcome="fault", error="KeyError()"),),
        (
            call("update", "chain::1", 0, 1, wrote=11, revision=2),
            call("update", "chain::1", 0, 1, wrote=2_000_001, revision=2),  # a lost update
        ),
        (ONE, ONE),  # an increment is lost
        (HELD, call("insert", "slot::1", 2, 3, wrote=2_000_001, revision=1), FREED),
        (HELD, call("get", "slot::1", 2, 3, seen=2_000_001, revision=1), FREED),
        (HELD, call("get", "slot::1", 2, 3, found=False), FREED),
        (HELD, FREED._replace(found=False)),
        (HELD, FREED, AGAIN),  # an acknowledged delete is lost
        (BRIEF, REMOVED, brief(11, 4, 5)),
        (BRIEF, REMOVED, ANEW, brief(11, 6, 7)),
        (BRIEF, none(2, 3), ANEW),
        (BRIEF, none(1.1, 1.5), REMOVED),
        (BRIEF, none(2, 2.5), REMOVED._replace(outcome="no")),
        (BRIEF, REMOVED, ANEW, none(6, 7), ANEW._replace(began=8, ended=9, wrote=14)),
        (BRIEF, REMOVED._replace(found=False)),
        (OLD, none(2, 3, "old::1"), old(11, 4, 5)),
        (OLD, OLD._replace(began=2, ended=3, wrote=12), old(11, 4, 5)),
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
        ((HELD, FREED), {"slot::1": (11, 1)}),
        ((BRIEF,), {}),
        ((BRIEF, REMOVED), {"brief::1": (11, 1)}),
        ((BRIEF, REMOVED, ANEW), {}),
        ((call("update", "chain::1", 0, 1, wrote=11, revision=2),), {}),
        ((ONE, TWO), {"tally::1": (1, 3)}),
        ((ONE, TWO._replace(outcome="no")), {"tally::1": (2, 3)}),
        ((ONE,), {}),
    ),
)
def test_what_is_wrong_at_the_end_is_found(
    calls: tuple[Call, ...], rows: dict[str, tuple[int, int]]
) -> None:
    assert broken(*calls, rows=rows) == 1


@pytest.mark.parametrize(
    ("calls", "rows"),
    (
        ((FIRST, SECOND), {"put::1": (12, 2)}),
        ((HELD, FREED), {}),
        ((HELD, FREED), {"slot::1": (2_000_001, 1)}),  # another's, of unknown outcome
        ((BRIEF, REMOVED), {}),
        ((BRIEF, MAYBE_REMOVED), {}),
        ((BRIEF, MAYBE_REMOVED), {"brief::1": (11, 1)}),
        ((MAYBE_BRIEF, REMOVED), {"brief::1": (11, 1)}),
        ((MAYBE_BRIEF,), {}),
        ((OLD,), {}),
        ((ONE, TWO), {"tally::1": (2, 3)}),
        ((ONE, TWO._replace(outcome="unknown")), {"tally::1": (1, 2)}),
        ((ONE, TWO._replace(outcome="unknown")), {"tally::1": (2, 3)}),
    ),
)
def test_what_may_be_there_at_the_end_is_accepted(
    calls: tuple[Call, ...], rows: dict[str, tuple[int, int]]
) -> None:
    assert broken(*calls, rows=rows) == 0


def test_a_seed_gives_the_same_faults_again() -> None:
    def begin(seed: int) -> list[str]:
        return [
            str(fault) for fault, _ in zip(schedule(seed, tuple(KINDS)), range(50), strict=False)
        ]

    assert begin(7) == begin(7) != begin(8)
    assert {line.partition(" +")[0] for line in begin(7)} == set(KINDS)


REST: dict[str, Any] = {
    "hanging": [],
    "free": POOL,
    "seconds": 0,
    "freed": 0.5,
    "left": 3,
    "silent": False,
    "tasks": 1,
    "files": 1,
    "kilobytes": 1,
}


def test_a_slot_that_is_given_back_late_is_found() -> None:
    def late(**rest: Any) -> int:
        return len(Report(1, batching=True, rests=[{**REST, **rest}]).violations)

    assert late() == late(freed=3.9, silent=True) == 0
    assert late(freed=1.1) == late(freed=4.1, silent=True) == late(free=POOL - 1) == 1


async def test_a_rest_notices_who_holds_a_slot(dsn: str, start: Start) -> None:
    async with (
        start(max_size=POOL) as storage,
        Lag() as lag,
    ):
        load = Load(storage, dsn, 1, lag)
        async with storage.transaction():
            rest = asyncio.create_task(load.rest())
            while load.going.is_set():
                await asyncio.sleep(0)
            await lag.passed(0.2)
            assert not rest.done()
        found = await rest
        assert found["free"] == POOL
        assert found["freed"] > 0.1


@pytest.mark.parametrize("starved", (True, False))
async def test_the_lag_of_the_loop_is_no_calls_fault(
    storage: AsyncStorage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    starved: bool,
) -> None:
    monkeypatch.setattr(load_module, "DEADLINES", (0.05,))
    monkeypatch.setattr(history_module, "SLACK", slack := 0.3)

    async def late(deadline: float) -> None:
        if starved:
            asyncio.get_running_loop().call_soon(sleep, 2 * slack)
            await asyncio.sleep(deadline)
        else:
            await lag.passed(deadline + 2 * slack)

    async with Lag() as lag:
        caller = Caller(Load(storage, "", 1, lag), 0, seed=1)
        assert await caller.call("get", ["put::1"], late) == ("ok", None)
    history = History()
    history.add(Call(*json.loads(capsys.readouterr().out)))
    assert len(history.violations) == (0 if starved else 1)
    assert history.excused == (1 if starved else 0)


VERBS = {
    *("get", "put", "insert", "update", "delete", "query", "stream", "count"),
    *("get_many", "put_many", "delete_many", "prune", "using", "transaction", "modify"),
}


@pytest.mark.chaos
@pytest.mark.parametrize("batching", (True, False))
async def test_no_fault_breaks_a_promise(*, batching: bool) -> None:
    """One round: a second would take the time of the test in which runners break as well.

    ``python -m tests.chaos`` is the long one, with other faults at each seed.
    """
    faults = len(KINDS)
    report = await run(seed=20261122, faults=faults, callers=200, batching=batching, wanted=VERBS)
    print(report)
    assert report.violations == []
    assert report.faults == dict.fromkeys(KINDS, 1)
    assert report.watches.number > 0


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("callers", "wanted"),
    (
        (1, {"put", "insert", "update", "delete", "get", "using", "prune"}),
        (1000, set[str]()),  # which are too many for a slow machine: nearly all are late
    ),
)
async def test_nor_does_it_for_one_caller_or_a_thousand(callers: int, wanted: set[str]) -> None:
    broken_ways = ("drop", "terminate", "half-close")
    report = await run(seed=20261122, faults=2, only=broken_ways, callers=callers, wanted=wanted)
    print(report)
    assert report.violations == []
    assert sum(report.faults.values()) == 2


@pytest.mark.chaos
async def test_memory_and_open_files_stay_as_they_are() -> None:
    """Nine seconds for as many rests, the fewest that show a trend.

    ``python -m tests.chaos --seconds 600`` is the long one, among faults.
    """
    report = await run(seed=20261122, faults=0, seconds=9)
    print(report)
    assert report.violations == []
    # Where nothing breaks, nothing fails, but that a short deadline may pass on a busy machine.
    failures = set(report.history.errors)
    assert failures <= {"InstanceExistsError", "StaleInstanceError", "OperationTimeoutError"}
    assert "fault" not in {outcome for _, outcome in report.history.outcomes}
