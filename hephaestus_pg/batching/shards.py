"""The shards of a table that Citus distributes by id, so that a statement needs but one of them.

What concerns several is committed in two phases, and costs several times as much.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING

from hephaestus_pg.errors import HephaestusError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("hephaestus_pg")

READ_SECONDS = 60.0
"""Seconds after which a call has the shards read again: one may have been split."""

_WORD = 0xFFFF_FFFF
_SIGN = 0x8000_0000
_SEED = 0x9E37_79B9 + 3_923_095


class Shards:
    """The shard that an id lies in, by the lowest hash of each, which ``read`` gives.

    One that is out of date makes statements slower, and changes nothing else: the server has the
    last word about where a row lies.
    """

    def __init__(self, read: Callable[[], Awaitable[list[int]]]) -> None:
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._lowest: list[int] = []
        self._due = -inf
        self._task: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Reads the shards."""
        self._due = self._loop.time() + READ_SECONDS
        self._lowest = sorted(await self._read())

    def of(self, id: str) -> int:
        """The number of the id's shard, which holds until they are read again."""
        if (now := self._loop.time()) >= self._due:
            self._due = now + READ_SECONDS
            self._task = self._loop.create_task(self._read_again())
        return bisect_right(self._lowest, hashed(id))

    async def _read_again(self) -> None:
        try:
            await self.read()
        except HephaestusError as error:
            logger.debug("the shards are read again later: %s", error)


@lru_cache(maxsize=10_000)
def hashed(text: str) -> int:
    """PostgreSQL's ``hashtext`` of a text in UTF-8: Bob Jenkins's lookup3, as a signed number.

    https://github.com/postgres/postgres/blob/master/src/common/hashfn.c
    """
    data = text.encode()
    a = b = c = _SEED + len(data) & _WORD
    whole = len(data) // 12 * 12
    for start in range(0, whole, 12):
        a += int.from_bytes(data[start : start + 4], "little")
        b += int.from_bytes(data[start + 4 : start + 8], "little")
        c += int.from_bytes(data[start + 8 : start + 12], "little")
        a, b, c = _mixed(a & _WORD, b & _WORD, c & _WORD)
    rest = data[whole:]
    a = a + int.from_bytes(rest[:4], "little") & _WORD
    b = b + int.from_bytes(rest[4:8], "little") & _WORD
    c = c + (int.from_bytes(rest[8:], "little") << 8) & _WORD
    return _final(a, b, c)


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = a - c & _WORD ^ (c << 4 & _WORD | c >> 28)
    c = c + b & _WORD
    b = b - a & _WORD ^ (a << 6 & _WORD | a >> 26)
    a = a + c & _WORD
    c = c - b & _WORD ^ (b << 8 & _WORD | b >> 24)
    b = b + a & _WORD
    a = a - c & _WORD ^ (c << 16 & _WORD | c >> 16)
    c = c + b & _WORD
    b = b - a & _WORD ^ (a << 19 & _WORD | a >> 13)
    a = a + c & _WORD
    c = c - b & _WORD ^ (b << 4 & _WORD | b >> 28)
    return a, b + a & _WORD, c


def _final(a: int, b: int, c: int) -> int:
    c = (c ^ b) - (b << 14 & _WORD | b >> 18) & _WORD
    a = (a ^ c) - (c << 11 & _WORD | c >> 21) & _WORD
    b = (b ^ a) - (a << 25 & _WORD | a >> 7) & _WORD
    c = (c ^ b) - (b << 16 & _WORD | b >> 16) & _WORD
    a = (a ^ c) - (c << 4 & _WORD | c >> 28) & _WORD
    b = (b ^ a) - (a << 14 & _WORD | a >> 18) & _WORD
    c = (c ^ b) - (b << 24 & _WORD | b >> 8) & _WORD
    return (c ^ _SIGN) - _SIGN
