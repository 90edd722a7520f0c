"""The check that nobody misses what others write, with histories in which somebody does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import CorruptInstanceError, Instance
from hephaestus_pg.watch import watchers
from hephaestus_pg.watch.subscription import Subscription
from tests.chaos import wakeups as wakeups_module
from tests.chaos.runners.run import run
from tests.chaos.wakeups import Wakeups

if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[[Wakeups], None]


def there(moment: float, revision: int) -> Step:
    return lambda wakeups: wakeups.saw(moment, {"x": revision})


def given(moment: float, revision: int) -> Step:
    return lambda wakeups: wakeups.given(moment, Instance("x", "Chaos", revision=revision))


def after(*steps: Step) -> Wakeups:
    wakeups = Wakeups("watch", bound=5.0)
    with wakeups.expected(["x"]):
        for step in steps:
            step(wakeups)
        assert wakeups.ids == ["x"]
    return wakeups


@pytest.mark.quick
@pytest.mark.parametrize(
    ("steps", "slowest"),
    (
        ((there(0, 0), there(9, 0)), 0),  # there is nothing to be given
        ((there(0, 7), given(4, 7), there(9, 7)), 4),
        ((there(0, 7), there(3, 8), given(4, 8), there(9, 8)), 4),  # some may be skipped
        ((given(0, 7), there(1, 7), there(9, 7)), 0),  # before it was seen
        ((there(0, 7), given(4, 7), there(4, 8), there(8, 8), given(9, 8)), 5),
        ((there(0, 7), given(1, 9), there(1, 7), there(1, 9), there(9, 9)), 1),
    ),
)
def test_what_is_given_in_time_is_accepted(steps: tuple[Step, ...], slowest: float) -> None:
    wakeups = after(*steps)
    assert (wakeups.violations, wakeups.lost, wakeups.slowest) == ([], 0, slowest)
    assert not wakeups.are_due


@pytest.mark.quick
@pytest.mark.parametrize(
    "steps",
    (
        (there(0, 7), there(6, 7)),  # never
        (there(0, 7), there(6, 7), there(12, 7), given(13, 7)),  # found once
        (there(0, 7), given(6, 7)),
        (there(0, 7), there(4, 8), given(4, 7), there(10, 8)),  # an older one does not do
        (there(0, 7), given(4, 6), there(6, 7)),
    ),
)
def test_what_is_lost_for_too_long_is_found(steps: tuple[Step, ...]) -> None:
    wakeups = after(*steps)
    assert wakeups.lost == 1
    [found] = wakeups.violations
    assert "a watch lost revision" in found


@pytest.mark.quick
@pytest.mark.parametrize("revision", (6, 7))
def test_a_state_that_is_not_newer_than_the_last_is_found(revision: int) -> None:
    [found] = after(given(0, 7), given(1, revision)).violations
    assert found == f"a watch gave {revision} of x after 7"


@pytest.mark.quick
def test_one_who_is_told_of_an_error_is_found() -> None:
    wakeups = Wakeups("wait", bound=5.0)
    with wakeups.expected(["x"]):
        raise CorruptInstanceError("x", "broken")
    [found] = wakeups.violations
    assert "a wait of ['x'] ended with CorruptInstanceError" in found
    assert wakeups.ids == []


@pytest.mark.chaos
async def test_those_who_neither_hear_nor_look_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(Subscription, "_heard", lambda *_: None)
    monkeypatch.setattr(wakeups_module, "TOLD", 1.0)
    report = await run(seed=20261126, faults=0, processes=3, instances=10)
    print(report)
    waits, watches = report.waiters.waits, report.waiters.watches
    assert waits.lost > 0
    assert watches.lost > 0
    assert len(report.violations) == waits.lost + watches.lost
