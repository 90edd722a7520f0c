"""A small pool, and a pinned connection that is kept however slow the machine is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from hephaestus_pg.execution import pinned

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Pool = asyncpg.Pool[asyncpg.Record]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, time is not up."""
    monkeypatch.setattr(pinned, "KEEP_SECONDS", 600)


@pytest.fixture
async def two(dsn: str) -> AsyncIterator[Pool]:
    """A pool of two connections."""
    async with asyncpg.create_pool(dsn, min_size=0, max_size=2) as pool:
        yield pool
