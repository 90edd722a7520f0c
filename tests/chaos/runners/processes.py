"""The processes that work, and what is done to them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tests.chaos.runners.history import Write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.chaos.runners.history import History
    from tests.chaos.schedule import Fault

END_SECONDS = 60.0
"""Seconds within which a process that is stopped must have ended."""

WELL_SECONDS = 60.0
"""Seconds within which a process must be well, whatever was done to all of them."""


class _Process:
    """One process, and the token of its last runner."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.reading: asyncio.Task[None] | None = None
        self.token: str | None = None
        self.is_faulty = False

    @property
    def is_well(self) -> bool:
        """It has had a runner, and no fault is under way."""
        return self.token is not None and not self.is_faulty

    def signal(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            with suppress(ProcessLookupError):  # it has ended by itself, which is found out later
                # send_signal would take the exit code of one that has just ended, and lose it.
                os.kill(self.process.pid, number)


class Processes:
    """So many processes, each of which another replaces when it has ended."""

    def __init__(self, dsn: str, history: History, *, number: int, lease: float, seed: int) -> None:
        self._dsn = dsn
        self._history = history
        self._number = number
        self._lease = lease
        self._chance = random.Random(seed)
        self._all: set[_Process] = set()
        self._thawing: set[asyncio.Task[None]] = set()
        self.dead: set[str] = set()
        """The tokens of runners whose process has ended or is frozen."""

    async def __aenter__(self) -> Self:
        for _ in range(self._number):
            await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._thawing:
            task.cancel()
        for each in list(self._all):
            each.signal(signal.SIGKILL)
            await self._ended(each)

    @property
    def are_ready(self) -> bool:
        """Each process has had a runner, and none is at fault."""
        return all(each.is_well for each in self._all)

    async def suffer(self, fault: Fault) -> None:
        """Wait until a process is well, and do the fault to one that is."""
        async with asyncio.timeout(WELL_SECONDS):
            while not (well := [each for each in self._all if each.is_well]):
                await asyncio.sleep(0.05)
        chosen = self._chance.choice(sorted(well, key=lambda each: each.process.pid))
        chosen.is_faulty = True
        await KINDS[fault.kind](self, chosen, fault)

    async def stop(self) -> None:
        """Stop all of them, as an operator would."""
        for each in self._all:
            each.signal(signal.SIGTERM)
        await asyncio.gather(*(self._ended(each) for each in list(self._all)))

    async def _kill(self, chosen: _Process, fault: Fault) -> None:
        chosen.signal(signal.SIGKILL)
        await self._ended(chosen, expected=-signal.SIGKILL)
        await self._replace(fault)

    async def _stop(self, chosen: _Process, fault: Fault) -> None:
        chosen.signal(signal.SIGTERM)
        await self._ended(chosen)
        await self._replace(fault)

    async def _freeze(self, chosen: _Process, fault: Fault) -> None:
        """Freeze it until its lease has ended, while other things happen."""
        chosen.signal(signal.SIGSTOP)
        assert chosen.token is not None
        self.dead.add(chosen.token)
        task = asyncio.create_task(self._thaw(chosen, self._lease + fault.seconds))
        self._thawing.add(task)
        task.add_done_callback(self._thawing.discard)
        await asyncio.sleep(fault.seconds)

    async def _thaw(self, chosen: _Process, seconds: float) -> None:
        await asyncio.sleep(seconds)
        chosen.signal(signal.SIGCONT)
        chosen.is_faulty = False

    async def _replace(self, fault: Fault) -> None:
        await asyncio.sleep(fault.seconds)
        await self._start()

    async def _start(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.chaos.runners.worker", self._dsn, str(self._lease)),
            stdout=asyncio.subprocess.PIPE,
        )
        started = _Process(process)
        started.reading = asyncio.create_task(self._read(started))
        self._all.add(started)

    async def _ended(self, each: _Process, expected: int = 0) -> None:
        """Wait for its end, and note if that is not as expected."""
        assert each.reading is not None
        async with asyncio.timeout(END_SECONDS):
            code = await each.process.wait()
            await each.reading
        self._all.discard(each)
        if code != expected:
            self._history.violations.append(f"a process ended with {code}, and not {expected}")

    async def _read(self, each: _Process) -> None:
        assert each.process.stdout is not None
        async for line in each.process.stdout:
            if line.endswith(b"\n"):  # else it was killed as it spoke
                self._hear(each, json.loads(line))
        if each.token is not None:
            self.dead.add(each.token)

    def _hear(self, each: _Process, told: dict[str, object]) -> None:
        match told:
            case {"runner": str(token)}:
                if each.token is not None:
                    self.dead.add(each.token)
                each.token = token
            case {"write": list(write)}:
                self._history.wrote(Write(*write))
            case {"refused": list(write)}:
                self._history.was_refused(Write(*write))
            case {"error": str(name)}:
                self._history.errors[name] += 1


KINDS: dict[str, Callable[[Processes, _Process, Fault], Awaitable[None]]] = {
    "kill process": Processes._kill,
    "freeze process": Processes._freeze,
    "stop process": Processes._stop,
}
