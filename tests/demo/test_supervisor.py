from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from hephaestus_pg.demo.supervisor import Supervisor
from tests.support.catalog import WAIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg
    import pytest

    from hephaestus_pg import AsyncStorage


async def test_a_kill_that_is_due_already_comes_at_once(
    pool: asyncpg.Pool[asyncpg.Record],
    storage: AsyncStorage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after a runner that was heard of only when it had done nearly all."""
    runner = tmp_path / "runner"
    runner.write_text("#!/bin/sh\nexec sleep 100\n")
    runner.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(runner))
    supervisor = Supervisor("", pool, storage, random.Random(1))
    supervisor.kills_due.extend((0, 0, 1))
    async with asyncio.timeout(WAIT_SECONDS):
        assert await supervisor.run_one(1)
        assert await supervisor.run_one(2)
    assert list(supervisor.kills_due) == [1]
