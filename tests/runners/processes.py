"""Processes with a runner: what they own, what they are told to do, and what becomes of that."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hephaestus_pg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# It owns x, and works on it until a line is written to it, or it is cancelled. Then it writes x, as
# what it knows it by, and says what becomes of that.
WORKER = """
import asyncio, signal, sys
from dataclasses import replace
from hephaestus_pg import AsyncStorage, HephaestusError, Names, RunnerEndedError, Status

async def work(storage, runner, claim):
    async with claim as held:
        print("owns", held.id, flush=True)
        try:
            await asyncio.to_thread(sys.stdin.readline)
            print("believes" if runner._heartbeat.is_alive else "doubts", flush=True)
            await write(storage, replace(held, status=Status.FAILED))
        except asyncio.CancelledError:
            print("cancelled", flush=True)
            await write(storage, replace(held, status=Status.FAILED))
            raise

async def write(storage, instance):
    try:
        await storage.update(instance)
        print("written", flush=True)
    except HephaestusError as error:
        print(type(error).__name__, flush=True)

async def main(dsn, schema, lease, *_):
    async with AsyncStorage.start(dsn, schema=schema, references=Names()) as storage:
        async with storage.runner(workflows=["Order"], name="worker", lease=float(lease)) as runner:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(
                signal.SIGTERM, lambda: asyncio.ensure_future(runner.stop())
            )
            try:
                async for claim in runner.claims():
                    try:
                        await work(storage, runner, claim)
                    except HephaestusError as error:
                        print(type(error).__name__, flush=True)
            except RunnerEndedError as error:
                print("ended:", error.reason, flush=True)
        print("stopped", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""

# What a machine's clocks are off by is in a file, as seconds.
_OFF_BY = """
import os, sys, time
off_by = lambda: float(os.pread(file, 32, 0))
file = os.open(sys.argv[4], os.O_RDONLY)
"""

# A virtual machine that is paused: none of its clocks counts the pause.
PAUSED = (
    _OFF_BY
    + """
def paused(clock):
    return lambda *which: clock(*which) - off_by()

for name in ("time", "monotonic", "clock_gettime"):
    setattr(time, name, paused(getattr(time, name)))
"""
)

# A machine whose wall clock somebody sets.
SET = (
    _OFF_BY
    + """
import datetime

class Set(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=off_by())

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.timezone.utc).replace(tzinfo=None)

real = time.clock_gettime
is_wall = lambda which: which == time.CLOCK_REALTIME
time.clock_gettime = lambda which: real(which) + (off_by() if is_wall(which) else 0)
time.time = lambda: time.clock_gettime(time.CLOCK_REALTIME)
time.time_ns = lambda: int(time.time() * 1e9)
datetime.datetime = Set
"""
)


class Clock:
    """The clocks of a machine, as a process there reads them: ``PAUSED`` ones, or a ``SET`` one."""

    def __init__(self, code: str, file: Path) -> None:
        self.code = code
        self.file = file
        self.is_off_by(0)

    def is_off_by(self, seconds: float) -> None:
        """Have them be off by so much from now on."""
        self.file.write_text(str(seconds))


@asynccontextmanager
async def worker(
    dsn: str, schema: str, lease: float, clock: Clock | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with a runner, on a machine of its own."""
    code, file = (clock.code, str(clock.file)) if clock else ("", "")
    path = str(Path(hephaestus_pg.__file__).parents[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", code + WORKER, dsn, schema, str(lease), file),
        env={**os.environ, "PYTHONPATH": path},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await asyncio.sleep(0)


async def said(process: asyncio.subprocess.Process) -> str:
    """The next line that it says."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode().strip()


def tell(process: asyncio.subprocess.Process) -> None:
    """Has it write what it owns."""
    assert process.stdin is not None
    process.stdin.write(b"\n")
