from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg.demo.witness import (
    EffectRefusedError,
    Work,
    ledger,
    take_effect,
)

if TYPE_CHECKING:
    from asyncpg import Pool, Record

pytestmark = pytest.mark.quick

FIRST = Work("order::1", "Reserve", runner=1, receipt="a", token=5)
NEXT = Work("order::1", "Reserve", runner=2, receipt="b", token=6)


async def test_an_effect_with_a_lesser_token_than_one_seen_for_the_order_is_refused(
    world: Pool[Record],
) -> None:
    later = FIRST._replace(step="Charge", receipt="c")
    for work in (FIRST, later, NEXT):
        await take_effect(world, work)
    late = FIRST._replace(step="Pack", receipt="d")
    with pytest.raises(EffectRefusedError, match="Pack of order::1 by runner 1"):
        await take_effect(world, late)
    await take_effect(world, NEXT._replace(receipt="e"))
    assert await ledger(world) == (
        [FIRST, later, NEXT, NEXT._replace(receipt="e")],
        [late],
    )


async def test_orders_have_tokens_of_their_own(world: Pool[Record]) -> None:
    await take_effect(world, NEXT)
    await take_effect(world, FIRST._replace(order_id="order::2"))
    assert len((await ledger(world)).taken) == 2


async def test_of_effects_at_once_none_is_taken_after_one_with_a_greater_token(
    world: Pool[Record],
) -> None:
    works = [FIRST._replace(receipt=str(token), token=token) for token in range(1, 40)]
    outcomes = await asyncio.gather(
        *(take_effect(world, work) for work in works[::-3] + works), return_exceptions=True
    )
    taken, refused = await ledger(world)
    tokens = [work.token for work in taken]
    assert tokens == sorted(tokens)
    assert len(refused) == sum(isinstance(each, EffectRefusedError) for each in outcomes)
    assert len(taken) + len(refused) == len(outcomes)
    assert refused
