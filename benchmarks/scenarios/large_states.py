"""Measures states that are large: a put, a get, and how long the event loop stands still."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.contenders.asyncpg_pool import WithoutReset
from benchmarks.contenders.ours import Ours
from benchmarks.fresh_process import alone
from benchmarks.load import Sample
from benchmarks.states import build, of_bytes
from hephaestus_pg import Context, Instance, Names, Serializer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from benchmarks.contenders import Contender
    from benchmarks.server import Server

SIZES = {"50kb": 50_000, "1mb": 1_000_000, "10mb": 10_000_000}
CALLS = {"50kb": 100, "1mb": 10, "10mb": 3}
"""Calls of each operation in a round."""

_TICK = 0.0005
_WORDS = [
    "order",
    "the",
    "refund",
    "was",
    "sent",
    "to",
    "a",
    "customer",
    "who",
    "asked",
    "“why”",
    "\n",
]
_MESSAGE = 160  # words


class _Encoding(WithoutReset):
    """It encodes within the call, as a user of asyncpg with orjson does."""

    def value(self, instance: Instance) -> Any:
        return Serializer(Names()).to_db(instance)

    async def put(self, value: Any) -> int:
        *columns, state = value
        return await super().put((*columns, orjson.dumps(state).decode()))


CONTENDERS: Mapping[str, type[Contender]] = {"ours": Ours, "asyncpg-noreset": _Encoding}


def lines(stage: int, size: int) -> Instance:
    """An order of small values, about half of it history."""
    return build(0, stage, **of_bytes(size)._asdict())


def messages(stage: int, size: int) -> Instance:
    """An order that an agent works on, with what was said: texts of about a kilobyte."""
    chosen = random.Random(stage)
    said = [" ".join(chosen.choices(_WORDS, k=_MESSAGE)) for _ in range(64)]
    each = sum(len(orjson.dumps(_message(number, said))) + 1 for number in range(64)) / 64
    spoken = [_message(number, said) for number in range(int(size / each))]
    given = build(0, stage, lines=2, entries=20)
    steps = {**given.context.steps, "Answer": {"messages": spoken}}
    return replace(given, context=Context(given.context.initial, steps))


def _message(number: int, said: Sequence[str]) -> dict[str, Any]:
    return {
        "role": ("user", "assistant", "tool")[number % 3],
        "text": said[number % len(said)],
        "tokens": 200 + number % 50,
        "call": {"name": "find_order", "arguments": {"order": number}} if number % 3 == 1 else None,
    }


CONTENTS: Mapping[str, Callable[[int, int], Instance]] = {"lines": lines, "messages": messages}


def large_states(
    server: Server, sizes: Sequence[str], *, rounds: int, part: float
) -> Iterator[dict[str, Any]]:
    """A record for each round, content, size, operation and contender, who take turns."""
    for round_number in range(rounds):
        for content in CONTENTS:
            for size in sizes:
                for name in (list(CONTENDERS), list(reversed(list(CONTENDERS))))[round_number % 2]:
                    about = {"round": round_number, "content": content, "size": size}
                    calls = max(1, round(CALLS[size] * part))
                    with server.database("bench_large") as dsn:
                        for record in alone(_measured, name, dsn, content, size, calls):
                            yield {**about, "contender": name, **record}


def _measured(name: str, dsn: str, content: str, size: str, calls: int) -> list[dict[str, Any]]:
    return asyncio.run(_measure(CONTENDERS[name](), dsn, content, size, calls))


async def _measure(
    chosen: Contender, dsn: str, content: str, size: str, calls: int
) -> list[dict[str, Any]]:
    instances = [CONTENTS[content](stage, SIZES[size]) for stage in (1, 2)]
    values = [chosen.value(instance) for instance in instances]
    await chosen.start(dsn)
    operations: dict[str, Callable[[int], Awaitable[int]]] = {
        "put": lambda turn: chosen.put(values[turn % 2]),
        "get": lambda _: chosen.get(instances[0].id),
    }
    records = []
    for operation, call in operations.items():
        await call(1)
        figures = await _timed(call, calls)
        records.append({"operation": operation, **figures})
    await chosen.close()
    return records


async def _timed(call: Callable[[int], Awaitable[int]], calls: int) -> dict[str, float]:
    latencies: list[float] = []
    clock, pauses = time.perf_counter, _Pauses()
    watching = asyncio.create_task(pauses.watch())
    await asyncio.sleep(4 * _TICK)
    cpu, start = time.process_time(), clock()
    for turn in range(calls):
        began = clock()
        await call(turn)
        latencies.append(clock() - began)
    sample = Sample(calls, clock() - start, time.process_time() - cpu, latencies)
    await asyncio.sleep(4 * _TICK)
    watching.cancel()
    return {**sample.figures(), "pause": 1000 * pauses.longest}


class _Pauses:
    """The longest time between two turns of the event loop, while it is watched."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_TICK)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now
