"""What is tried again, when, and for how long: on a clock of the test's own."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    ConflictError,
    ConnectionLostError,
    DatabaseError,
    OperationTimeoutError,
    RejectedError,
    UnavailableError,
)
from hephaestus_pg.execution import retrying
from hephaestus_pg.execution.retrying import LONGEST_PAUSE

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.quick

DEADLINE = 100.0
BOUNDS = [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0]


class Clock:
    """A loop's clock that only pauses move; ``pauses`` are those that were made."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, chance: Callable[[float, float], float]
    ) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        monkeypatch.setattr(
            retrying,
            "asyncio",
            SimpleNamespace(
                get_running_loop=lambda: SimpleNamespace(time=lambda: self.now), sleep=self._sleep
            ),
        )
        monkeypatch.setattr(retrying, "random", SimpleNamespace(uniform=chance))

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def down() -> UnavailableError:
    return UnavailableError("down", applied="no", retryable=True)


def lost() -> ConnectionLostError:
    return ConnectionLostError("lost", applied="unknown", retryable=True)


def failing(*errors: DatabaseError) -> Callable[[], Any]:
    """What raises these one after the other, and the last one for ever."""
    left = list(errors)

    async def attempt() -> Any:
        raise left.pop(0) if len(left) > 1 else left[0]

    return attempt


async def tried(deadline: float, attempt: Callable[[], Any], *, safe_twice: bool) -> Any:
    policy = retrying.IDEMPOTENT if safe_twice else retrying.NON_IDEMPOTENT
    return await retrying.run(attempt, policy, deadline, name="put", schema="public")


def test_each_pause_is_up_to_twice_as_long_as_the_last_up_to_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bounds: list[tuple[float, float]] = []

    def longest(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    clock = Clock(monkeypatch, longest)
    with pytest.raises(UnavailableError):
        asyncio.run(tried(DEADLINE, failing(down()), safe_twice=True))
    assert bounds[: len(BOUNDS)] == [(0, bound) for bound in BOUNDS]
    assert {high for _, high in bounds[len(BOUNDS) :]} == {LONGEST_PAUSE}
    assert clock.pauses == [high for _, high in bounds[:-1]]  # the last would pass the deadline


def test_callers_who_fail_together_do_not_come_back_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[float, ...]] = []
    for seed in range(50):
        clock = Clock(monkeypatch, random.Random(seed).uniform)
        with pytest.raises(UnavailableError):
            asyncio.run(tried(DEADLINE, failing(down()), safe_twice=True))
        made.append(tuple(clock.pauses))
        assert all(0 <= pause <= bound for pause, bound in zip(clock.pauses, BOUNDS, strict=False))
    for pauses, bound in zip(zip(*made, strict=False), BOUNDS, strict=False):
        assert len(set(pauses)) == len(made)
        assert min(pauses) < bound / 4  # from nothing on, and not only around the bound
        assert max(pauses) > bound * 3 / 4


def test_no_try_begins_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    for deadline in (0.0, 0.01, 0.5, 7.0):
        clock = Clock(monkeypatch, lambda _, high: high)
        with pytest.raises(UnavailableError):
            asyncio.run(tried(deadline, failing(down()), safe_twice=True))
        assert sum(clock.pauses) < max(deadline, 0.001)
        assert sum(clock.pauses) >= deadline - LONGEST_PAUSE


@pytest.mark.parametrize(
    ("error", "safe_twice", "again"),
    (
        (down(), False, True),
        (ConflictError("deadlock", applied="no", retryable=True), False, True),
        (lost(), True, True),
        (lost(), False, False),  # it may have happened, and must not twice
        (RejectedError("no", applied="no", retryable=False), True, False),
        (ConnectionLostError("lost", applied="unknown", retryable=False), True, False),
        (OperationTimeoutError("late", applied="no", retryable=True), True, False),
    ),
)
def test_only_what_did_not_happen_or_may_happen_twice_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: DatabaseError, *, safe_twice: bool, again: bool
) -> None:
    clock = Clock(monkeypatch, lambda _, high: high)
    with pytest.raises(type(error)):
        asyncio.run(tried(DEADLINE, failing(error), safe_twice=safe_twice))
    assert bool(clock.pauses) is again


def test_a_result_ends_it_and_the_log_has_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch, lambda _, high: high)
    left: list[DatabaseError] = [down(), lost(), down()]

    async def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    assert asyncio.run(tried(DEADLINE, attempt, safe_twice=True)) == "done"
    assert clock.pauses == BOUNDS[:3]
    assert [record.getMessage() for record in caplog.records] == [
        "put in schema public is tried again until its deadline: down"
    ]


def test_a_try_that_may_have_been_applied_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, lambda _, high: high)
    refused = RejectedError("no", applied="no", retryable=False)
    with pytest.raises(RejectedError) as caught:
        asyncio.run(tried(DEADLINE, failing(lost(), refused), safe_twice=True))
    assert caught.value.applied == "unknown"

    refused = RejectedError("no", applied="no", retryable=False)
    with pytest.raises(RejectedError) as caught:
        asyncio.run(tried(DEADLINE, failing(down(), refused), safe_twice=True))
    assert caught.value.applied == "no"
