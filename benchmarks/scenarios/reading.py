"""Measures pages and lists of instances of a large table, and gets beside them."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks.filling import TEMPLATE, fill
from benchmarks.reader import Reader
from benchmarks.states import HALFWAY, order
from hephaestus_pg import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.server import Server

ROWS = 200_000
SIZES = ("no-history", "1kb")

READERS = ("ours", "asyncpg", "asyncpg-noreset")

CASES: dict[str, dict[str, int]] = {
    "page of 50": {"page": 1},
    "page of 50, 64 callers": {"page": 64},
    "get_many of 50": {"get_many": 1},
    "get_many of 50, 64 callers": {"get_many": 64},
    "56 callers get": {"get": 56},
    "56 get, 8 read pages": {"get": 56, "page": 8},
}
"""The callers of each operation at the same time."""


def reading(
    server: Server,
    contenders: Sequence[str],
    sizes: Sequence[str],
    *,
    rows: int,
    rounds: int,
    seconds: float,
) -> Iterator[dict[str, Any]]:
    """A record for each round, size, case, contender and operation.

    The contenders read the same table, in turns within a case.
    """
    names = [name for name in READERS if name in contenders]
    for size in sizes:
        with ExitStack() as stack:
            dsn = stack.enter_context(server.database("bench_reading"))
            asyncio.run(_prepare(dsn, rows, size))
            readers = {name: stack.enter_context(Reader(name, dsn, rows)) for name in names}
            for round_number in range(rounds):
                shift = round_number % len(names)
                for case, callers in CASES.items():
                    for name in (*names[shift:], *names[:shift]):
                        about = {"round": round_number, "size": size, "case": case, "rows": rows}
                        for operation, figures in readers[name].run(callers, seconds).items():
                            yield {**about, "contender": name, "operation": operation, **figures}


async def _prepare(dsn: str, rows: int, size: str) -> None:
    await migrations.up(dsn)
    await migrations.index(dsn, profile="none")  # no read here uses it, and building it takes long
    await fill(dsn, 0, rows, order(TEMPLATE, HALFWAY, size))
