"""Runners in processes that are killed and frozen: ``tests/chaos`` says how to run it long.

The check is checked first, with histories in which a promise is broken.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos import looks as looks_module
from tests.chaos.looks import Clock
from tests.chaos.runners import processes as processes_module
from tests.chaos.runners import run as run_module
from tests.chaos.runners.history import STEPS, History, Row, Write
from tests.chaos.runners.processes import Processes
from tests.chaos.runners.run import run, until_finished
from tests.chaos.runners.waits import Ownerless, Waits
from tests.chaos.runners.witness import Version
from tests.chaos.schedule import schedule

BEGUN = [Version(1, None)]
CLAIMED = [*BEGUN, Version(2, "a")]
BURIED = [*CLAIMED, Version(3, "a", True, 1, 2, "a"), Version(4, None, False, 1, 2, "a")]
TAKEN = [*BURIED, Version(5, "b", False, 1, 2, "a")]


def write(revision: int, step: int, token: int, by: str, *, keeps: bool = True) -> Version:
    return Version(revision, by if keeps else None, True, step, token, by)


def rest(token: int = 5, by: str = "b", *, begin: int = 2, revision: int = 6) -> list[Version]:
    """The writes of the steps that are left."""
    left = range(begin, STEPS + 1)
    return [
        write(revision + number, step, token, by, keeps=step < STEPS)
        for number, step in enumerate(left)
    ]


WHOLE = [*TAKEN, *rest()]
DONE = Row("x", "completed", STEPS, None, 0)


def violations(
    versions: list[Version],
    *,
    acknowledged: tuple[Write, ...] = (),
    rows: tuple[Row, ...] = (DONE,),
    runners: tuple[str, ...] = (),
) -> list[str]:
    history = History()
    history.inserted("x")
    for each in acknowledged:
        history.wrote(each)
    history.finish({"x": versions}, rows, runners)
    return history.violations


def test_a_history_that_may_be_is_accepted() -> None:
    acknowledged = (Write("x", 3, 2, "a", 1), Write("x", 6, 5, "b", 2))
    assert violations(WHOLE, acknowledged=acknowledged) == []
    inserted = [Version(1, "a"), *rest(1, "a", begin=1, revision=2)]
    assert violations(inserted) == []


@pytest.mark.parametrize(
    ("versions", "said"),
    (
        ([*TAKEN, write(5, 2, 5, "b"), *rest(begin=3)], "after revision 5 came"),
        ([*TAKEN, *rest(revision=7)], "after revision 5 came"),
        (
            [*TAKEN, Version(6, "b", True, 2, 2, "a"), *rest(begin=3, revision=7)],
            "a write of a lost claim was accepted",
        ),
        (  # the zombie's write takes the instance away from its owner
            [*TAKEN, *rest()[:-1], write(9, STEPS, 2, "a", keeps=False)],
            "a write of a lost claim was accepted",
        ),
        (  # nobody owns it at that moment
            [*BURIED, Version(5, None, True, 2, 2, "a")],
            "a write of a lost claim was accepted",
        ),
        (
            [*TAKEN, write(6, 1, 5, "b"), *rest(begin=2, revision=7)],
            "after step 1 came",
        ),
    ),
)
def test_a_write_that_should_not_have_taken_effect_is_found(
    versions: list[Version], said: str
) -> None:
    [found] = violations(versions)
    assert said in found


@pytest.mark.parametrize(
    ("acknowledged", "said"),
    (
        ((Write("x", 6, 5, "b", 2), Write("x", 6, 2, "a", 2)), "under one revision"),
        ((Write("x", 6, 2, "a", 2),), "has not taken effect"),  # another's did
        ((Write("x", 4, 2, "a", 2),), "has not taken effect"),  # that was no write
        ((Write("x", 99, 5, "b", 2),), "has not taken effect"),
        ((Write("y", 6, 5, "b", 2),), "has not taken effect"),
    ),
)
def test_an_acknowledgement_of_what_was_not_written_is_found(
    acknowledged: tuple[Write, ...], said: str
) -> None:
    [found] = violations(WHOLE, acknowledged=acknowledged)
    assert said in found


def test_a_refused_write_that_took_effect_is_found() -> None:
    history = History()
    history.was_refused(Write("x", 5, 2, "a", 2))
    history.finish({"x": WHOLE}, [DONE])
    assert history.violations == []
    history.was_refused(Write("x", 5, 5, "b", 2))
    history.finish({"x": WHOLE}, [DONE])
    [found] = history.violations
    assert "refused, and yet it has taken effect" in found


@pytest.mark.parametrize(
    "row",
    (
        DONE._replace(status="running"),
        DONE._replace(steps=STEPS - 1),
        DONE._replace(owner="a"),
        DONE._replace(attempts=1),
    ),
)
def test_an_instance_that_is_not_done_in_the_end_is_found(row: Row) -> None:
    [found] = violations(WHOLE, rows=(row,))
    assert "not as it has to be in the end" in found


def test_an_instance_that_is_gone_and_a_runner_that_stays_are_found() -> None:
    assert len(violations(WHOLE, rows=())) == 1
    assert len(violations([], rows=())) == 1
    assert len(violations(WHOLE, runners=("a",))) == 1


def late(*looks: tuple[float, list[Ownerless]]) -> int:
    waits = Waits(4.0)
    for moment, instances in looks:
        waits.saw(moment, instances)
    return len(waits.violations)


OWNED = Ownerless("x", "a", 7)
FREED = Ownerless("x", None, 8)


@pytest.mark.parametrize(
    "looks",
    (
        ((0, [OWNED]), (5, [OWNED])),
        ((0, [FREED]), (5, [FREED])),
        ((0, [OWNED]), (3, [FREED]), (5, [FREED])),  # to be taken from the dead is no owner
        ((0, [OWNED]), (3, [OWNED._replace(revision=8)]), (5, [OWNED._replace(revision=8)])),
    ),
)
def test_an_instance_that_waits_too_long_for_an_owner_is_found_once(
    looks: tuple[tuple[float, list[Ownerless]], ...],
) -> None:
    assert late(*looks) == late(*looks, (6, looks[-1][1])) == 1


@pytest.mark.parametrize(
    "looks",
    (
        ((0, [OWNED]), (4, [OWNED]), (5, [])),
        ((0, [OWNED]), (3, []), (5, [OWNED])),
        ((0, [OWNED]), (5, [FREED._replace(revision=9)])),  # it was claimed, and given back
        ((0, [OWNED]), (5, [OWNED._replace(owner="b", revision=9)])),
        ((0, [FREED]), (5, [OWNED._replace(revision=9)])),
        ((0, [FREED]), (5, [FREED._replace(revision=10)])),
    ),
)
def test_one_that_had_an_owner_in_time_is_not(
    looks: tuple[tuple[float, list[Ownerless]], ...],
) -> None:
    assert late(*looks) == 0


def test_the_clock_leaves_out_what_the_loop_was_late_and_when_there_was_no_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moment = 100.0
    monkeypatch.setattr(looks_module, "monotonic", lambda: moment)
    lag: Any = SimpleNamespace(total=0.0)
    clock = Clock(lag)

    def pass_by(seconds: float, *, late: float = 0.0) -> float:
        nonlocal moment
        moment += seconds
        lag.total += late
        return clock.look()

    assert pass_by(2) == 2
    assert pass_by(3, late=1) == 4
    with clock.unreachable_during(1.0):
        assert pass_by(5) == 4
    assert pass_by(1) == 4
    assert pass_by(2) == 6
    assert clock.unreachable == 6


async def test_a_fault_that_no_process_can_suffer_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes_module, "WELL_SECONDS", 0.0)
    nobody = Processes("", History(), number=0, lease=1.0, seed=1)
    with pytest.raises(TimeoutError):
        await nobody.suffer(next(schedule(1, ["kill process"])))


class Looks:
    """An observer that sees these numbers of open instances, and the last one ever after."""

    def __init__(self, *open: int) -> None:
        self.coming = [*open]
        self.open = self.instances = 9

    async def next(self) -> None:
        await asyncio.sleep(0)
        self.open = self.coming.pop(0) if len(self.coming) > 1 else self.coming[0]


@pytest.mark.parametrize(
    ("is_fed", "looks", "found"),
    (
        (True, (2, 0, 1, 0), 0),  # between two looks another was inserted
        (True, (3, 2), 1),
        (False, (0,), 1),
    ),
)
async def test_instances_that_are_stuck_or_too_few_in_the_end_are_found(
    monkeypatch: pytest.MonkeyPatch, is_fed: bool, looks: tuple[int, ...], found: int
) -> None:
    monkeypatch.setattr(run_module, "STUCK", 0.0 if found else 60.0)
    fed = asyncio.Event()
    history = History()
    observer: Any = Looks(*looks)
    async with asyncio.TaskGroup() as tasks:
        feeding: Any = tasks.create_task(fed.wait())
        if is_fed:
            fed.set()
        await until_finished(feeding, observer, history)
    assert len(history.violations) == found
    assert observer.coming == [looks[-1]]


TURN = (
    *("kill process", "kill process", "freeze process", "freeze process", "stop process"),
    *("restart immediate", "terminate", "lose"),
)


@pytest.mark.chaos
async def test_no_fault_breaks_what_runners_promise() -> None:
    report = await run(seed=20261126, faults=2 * len(TURN), only=TURN, instances=300)
    print(report)
    assert report.violations == []
    assert report.faults == Counter(2 * TURN)
    assert report.instances >= 300
    assert report.history.writes == STEPS * report.instances
    assert report.history.owners > 1
    assert report.starts.number > 0
    assert report.waiters.watches.number > report.waiters.waits.number > 0
