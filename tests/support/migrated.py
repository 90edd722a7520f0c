"""Steps that tests of a migrated schema share: start a storage, run the command, kill a run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hephaestus_pg
from hephaestus_pg import AsyncStorage, Names, migrate
from tests.support.catalog import WAIT_SECONDS

if TYPE_CHECKING:
    import asyncpg
    import pytest

    Link = asyncpg.Connection[Any]

TABLE = "workflow_instances"
UUID = "0191e0a4-5b0c-7d3e-8f00-000000000001"
ROW = "INSERT INTO workflow_instances (id, workflow, inserted_at, updated_at) VALUES "
ROW += f"('{UUID}', 'W', now(), now())"

# Kills itself, as the machine might, when the given stage is about to begin.
_KILLED = """
import asyncio, logging, os, signal, sys
from hephaestus_pg import migrations

schema, of, stage = sys.argv[1], sys.argv[2], int(sys.argv[3])

class Kill(logging.Handler):
    def emit(self, record):
        if record.args[1:3] == (of, stage):
            os.kill(os.getpid(), signal.SIGKILL)

logging.getLogger("hephaestus_pg").addHandler(Kill())
logging.getLogger("hephaestus_pg").setLevel(logging.INFO)
kind, _, name = of.partition(" ")
if kind == "index":
    asyncio.run(migrations.index(schema=schema, profile=name))
else:
    asyncio.run(migrations.up(schema=schema, online=True))
"""


def start(dsn: str) -> Any:
    return AsyncStorage.start(dsn, references=Names())


async def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code and the output of ``python -m hephaestus_pg.migrate``."""
    code = await asyncio.to_thread(migrate.main, list(arguments))
    return code, capsys.readouterr().out


async def kill_at_stage(dsn: str, schema: str, of: str, stage: int) -> None:
    """Run a process that is killed before a stage of ``migration N`` or ``index PROFILE``."""
    path = str(Path(hephaestus_pg.__file__).parents[1])
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _KILLED, schema, of, str(stage)],
        env={**os.environ, "HEPHAESTUS_PG_DSN": dsn, "PYTHONPATH": path},
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert killed.returncode == -signal.SIGKILL


async def advisory_locks(link: Link) -> int:
    count: int = await link.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return count
