from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg.demo.witness import TABLES, outside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from asyncpg import Pool


@pytest.fixture
async def nowhere(dsn: str, schema: str) -> AsyncIterator[Pool[Any]]:
    """A pool to a world outside that is still to be made."""
    async with outside(dsn, schema) as pool:
        yield pool


@pytest.fixture
async def world(nowhere: Pool[Any]) -> Pool[Any]:
    """A pool to the world outside."""
    await nowhere.execute(TABLES)
    return nowhere


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets what a runner's process does: the lines of a shell's script."""
    path = tmp_path / "runner"

    def write(lines: str) -> None:
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o700)

    monkeypatch.setattr("sys.executable", str(path))
    return write
