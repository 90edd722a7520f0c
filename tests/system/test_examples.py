"""The programs that the READMEs show run, die and go on as they say."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import AsyncStorage, Names, Status, migrations
from tests.support.catalog import WAIT_SECONDS
from tests.system.test_readme import GUIDE, README, blocks, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not README.exists(), reason="there is no README beside these tests")


def programs(document: Path) -> list[str]:
    """The examples that are whole programs."""
    return [block for block in blocks(document, "python") if "asyncio.run" in block]


@contextmanager
def running(program: str, dsn: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        env=os.environ | {"HEPHAESTUS_PG_DSN": dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


async def test_the_first_example_goes_on_after_the_last_step_that_was_recorded(
    database: str,
) -> None:
    await migrations.up(database)
    [program] = programs(README)
    program = program.replace('workflows=["Order"]', 'workflows=["Order"], lease=1')
    dying = program.replace("print(step)", "step == 'ship' and os._exit(7) or print(step)")
    done = run("-u", "-c", f"import os\n{dying}", dsn=database)
    assert (done.returncode, done.stdout.split(), done.stderr) == (7, ["charge"], "")

    with running(program, database) as child:
        assert child.stdout is not None
        steps = [child.stdout.readline().strip() for _ in range(3)]
        assert sorted(steps) == ["charge", "ship", "ship"]  # its own order's, and the other's last
        async with AsyncStorage.start(database, references=Names()) as storage:
            await completed(storage, 2)
        child.terminate()
        assert child.communicate() == ("", "took over 1 instances of dead runners\n")
        assert child.returncode == 0


async def test_the_runner_runs_and_stops_when_it_is_told_to(database: str) -> None:
    await migrations.up(database)
    [program] = programs(GUIDE)
    async with AsyncStorage.start(database, references=Names()) as storage:
        for number in (1, 2):
            with running(program, database) as child:
                await completed(storage, number)
                child.terminate()
                assert child.communicate() == ("", "")
                assert child.returncode == 0


async def completed(storage: AsyncStorage, number: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while await storage.count(status=Status.COMPLETED) < number:
            await asyncio.sleep(0.02)
