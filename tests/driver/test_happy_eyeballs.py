"""The first of several attempts to connect wins, and the others are discarded."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from hephaestus_pg.driver import happy_eyeballs

pytestmark = pytest.mark.quick


async def test_a_connection_that_comes_too_late_is_discarded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(happy_eyeballs, "HEAD_START", 0.01)
    both = asyncio.Event()
    unwanted: list[str] = []

    async def first() -> str:
        await both.wait()
        return "first"

    async def second() -> str:
        both.set()
        return "second"

    assert await happy_eyeballs.first_to_connect([first, second], discard=unwanted.append) == (
        1,
        "second",
    )
    assert unwanted in ([], ["first"])

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "late"
        raise AssertionError

    assert await happy_eyeballs.first_to_connect([stubborn, second], discard=unwanted.append) == (
        1,
        "second",
    )
    assert unwanted[-1] == "late"


async def test_a_connection_is_discarded_when_the_caller_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(happy_eyeballs, "HEAD_START", 0.01)
    leaving, unwanted = asyncio.Event(), list[str]()

    async def slow_to_leave() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            leaving.set()
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0.1)
        raise AssertionError

    async def second() -> str:
        return "second"

    trying = asyncio.create_task(
        happy_eyeballs.first_to_connect([slow_to_leave, second], discard=unwanted.append)
    )
    await leaving.wait()
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    assert unwanted == ["second"]
