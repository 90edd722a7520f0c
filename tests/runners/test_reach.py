from __future__ import annotations

import pytest

from hephaestus_pg.runners import reach
from hephaestus_pg.runners.reach import AMONG_ALL, MOST, SPREAD, SPREAD_LEAST, Reach

pytestmark = pytest.mark.once


async def narrow(runners: int) -> Reach:
    """A reach whose last claim got what it wanted."""
    made = Reach(lambda: runners)
    made.note(5, 5)
    return made


async def test_a_claim_is_for_all_who_wait_up_to_what_one_statement_takes() -> None:
    made = Reach(lambda: 1)
    assert [made.number(waiting) for waiting in (1, MOST, MOST + 1)] == [1, MOST, MOST]


async def test_the_first_claim_reaches_for_all() -> None:
    assert Reach(lambda: 1).among(3) == Reach(lambda: 2).among(3) == AMONG_ALL


async def test_one_that_got_all_is_followed_by_one_among_the_oldest_alone() -> None:
    alone = await narrow(runners=1)
    assert (alone.among(3), alone.is_random) == (3, False)
    alone.note(2, 3)
    assert alone.among(3) == AMONG_ALL


async def test_several_runners_draw_at_random_among_more_than_they_take() -> None:
    several = await narrow(runners=2)
    assert several.is_random
    assert (several.among(1), several.among(50)) == (SPREAD_LEAST, SPREAD * 50)


@pytest.mark.parametrize("runners", (1, 2))
@pytest.mark.parametrize("found", (0, 2, 3))
async def test_behind_a_claim_that_reached_for_few_there_may_be_more(
    runners: int, found: int
) -> None:
    assert (await narrow(runners)).note(found, 3)


@pytest.mark.parametrize(
    ("runners", "found", "may_be_more"),
    ((1, 3, True), (1, 2, False), (1, 0, False), (2, 2, True), (2, 0, False)),
)
async def test_behind_one_that_reached_for_all_only_what_it_had_no_room_for_or_others_took(
    runners: int, found: int, *, may_be_more: bool
) -> None:
    assert Reach(lambda: runners).note(found, 3) is may_be_more


async def test_only_a_claim_that_reached_for_all_has_found_nothing() -> None:
    made = await narrow(runners=1)
    counts = []
    for found in (0, 0, 0, 1, 0):
        made.note(found, 5)
        counts.append(made.found_nothing)
    assert counts == [0, 1, 2, 0, 1]


async def test_for_a_while_they_are_drawn_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made = await narrow(runners=1)
    made.draw_one_by_one()
    assert (made.number(50), made.among(1)) == (1, AMONG_ALL)
    assert made.is_one_by_one
    assert made.is_random
    monkeypatch.setattr(reach, "ONE_BY_ONE_SECONDS", 0.0)
    made.draw_one_by_one()
    assert (made.number(50), made.among(1)) == (50, 1)
    assert not made.is_one_by_one
    assert not made.is_random
