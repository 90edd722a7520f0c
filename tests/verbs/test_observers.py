from __future__ import annotations

from typing import Any

import pytest

from hephaestus_pg import Instance, Status
from hephaestus_pg.verbs.observers import Observer, Observers

pytestmark = pytest.mark.quick

WORK = Instance("w", "Order")
DONE = Instance("d", "Order", status=Status.COMPLETED)


class Recorded(Observer):
    def __init__(self) -> None:
        self.writes: list[tuple[str, bool, bool]] = []

    def written(self, instance: Instance, *, is_certain: bool, is_listened: bool) -> None:
        self.writes.append((instance.id, is_certain, is_listened))


@pytest.mark.parametrize(
    ("listened", "told"), (("all", ["w", "d"]), ("work", ["w"]), (None, [])), ids=str
)
def test_a_write_is_listened_to_as_its_answer_says(listened: str | None, told: list[str]) -> None:
    recorded = Recorded()
    observers = Observers(recorded)
    answer: Any = {"listened": listened}
    for instance in (WORK, DONE):
        assert observers.written(answer, instance) is instance
    assert [id for id, _, is_listened in recorded.writes if is_listened] == told


def test_a_write_that_does_not_ask_goes_by_the_last_that_did() -> None:
    recorded = Recorded()
    observers = Observers(recorded)
    silent: Any = {}
    asking: Any = {"listened": "all"}
    for answer in (silent, asking, silent):
        observers.written(answer, DONE)
    assert [is_listened for *_, is_listened in recorded.writes] == [False, True, True]


def test_what_a_transaction_writes_is_not_certain() -> None:
    recorded = Recorded()
    answer: Any = {}
    Observers(recorded, is_certain=False).written(answer, WORK)
    assert recorded.writes == [("w", False, False)]


def test_one_is_told_once_and_need_not_know_of_everything() -> None:
    recorded = Recorded()
    observers = Observers(recorded)
    observers.add(recorded)
    answer: Any = {}
    observers.written(answer, WORK)
    observers.deleted("w")
    observers.stale("w", None)
    assert len(recorded.writes) == 1
