"""The server behind a batcher, and a clock that a test moves on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.answering import Server

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def elapse(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the event loop's clock on by so many seconds."""
    loop = asyncio.get_running_loop()
    passed, time = [0.0], loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + sum(passed))
    return passed.append
