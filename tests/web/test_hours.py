"""The last hours as bars."""

from __future__ import annotations

import pytest

from hephaestus_pg.web.hours import Bar, Count, chart

pytestmark = pytest.mark.quick


def exact(instances: int) -> Count:
    return Count(instances, is_exact=True)


def test_statuses_stand_on_each_other_in_the_order_of_a_life() -> None:
    drawn = chart([{"failed": exact(1), "completed": exact(3)}, {}, {"failed": exact(2)}])
    assert drawn.bars == [
        Bar("completed", 1, 10, 30),
        Bar("failed", 1, 0, 10),
        Bar("failed", 21, 20, 20),
    ]
    assert drawn.most == 4


def test_a_total_of_an_estimate_is_one() -> None:
    drawn = chart([{"failed": exact(1), "pending": Count(9, is_exact=False)}, {"failed": exact(2)}])
    assert drawn.total == {"pending": Count(9, is_exact=False), "failed": exact(3)}
    assert chart([{}]).total == {}


def test_a_day_of_nothing_is_flat() -> None:
    assert chart([{"inserted": exact(0)}]).bars == [Bar("inserted", 1, 40, 0)]
