"""The world outside: a table to which the steps' effects go, and which knows no library.

It stands for a bank or a courier's office. An effect comes with the fencing token of the claim in
which it was done, and is refused where a greater one has been seen for the order: who sends it is
no longer the owner, whether he knows it yet or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from hephaestus_pg.driver.connector import Connector

if TYPE_CHECKING:
    from asyncpg import Pool

TABLES = """
CREATE TABLE demo_fences (
    order_id text PRIMARY KEY, token bigint NOT NULL, effects integer NOT NULL
);
CREATE TABLE demo_ledger (
    order_id text NOT NULL, step text NOT NULL, runner integer NOT NULL, receipt text NOT NULL,
    token bigint NOT NULL,
    place integer  -- among the order's effects; none if it was refused
);
"""

_EFFECT = """
WITH fence AS (
    INSERT INTO demo_fences AS seen (order_id, token, effects) VALUES ($1, $5, 1)
    ON CONFLICT (order_id) DO UPDATE SET token = EXCLUDED.token, effects = seen.effects + 1
    WHERE seen.token <= EXCLUDED.token
    RETURNING effects
)
INSERT INTO demo_ledger (order_id, step, runner, receipt, token, place)
VALUES ($1, $2, $3, $4, $5, (SELECT effects FROM fence))
RETURNING place
"""


class Work(NamedTuple):
    """One run of a step: a line of the ledger, or a runner's acknowledgement."""

    order_id: str
    step: str
    runner: int
    receipt: str
    token: int
    """The fencing token of the claim in which it was done."""

    @property
    def result(self) -> dict[str, Any]:
        """What the order keeps of it."""
        return {"runner": self.runner, "receipt": self.receipt}

    def __str__(self) -> str:
        return f"{self.step} of {self.order_id} by runner {self.runner}"


class Ledger(NamedTuple):
    """The effects that were taken, each order's as they came, and those that were refused."""

    taken: list[Work]
    refused: list[Work]


class EffectRefusedError(Exception):
    """The effect came from a former owner of its order."""


def outside(dsn: str, schema: str) -> Pool[Any]:
    """Opens a pool to the world outside; to be entered."""
    return asyncpg.create_pool(
        dsn,
        connect=Connector(dsn).connect,
        min_size=0,
        max_size=4,
        server_settings={"search_path": schema},
    )


async def take_effect(pool: Pool[Any], work: Work) -> None:
    """Writes the effect down.

    Raises:
        EffectRefusedError: A later owner of the order was here before.
    """
    if await pool.fetchval(_EFFECT, *work) is None:
        raise EffectRefusedError(str(work))


async def ledger(pool: Pool[Any]) -> Ledger:
    """Reads what has come."""
    rows = await pool.fetch(
        "SELECT order_id, step, runner, receipt, token, place FROM demo_ledger ORDER BY place"
    )
    return Ledger(
        taken=[Work(*row[:-1]) for row in rows if row["place"] is not None],
        refused=[Work(*row[:-1]) for row in rows if row["place"] is None],
    )
