"""Records of a scenario that is asynchronous, for the others, which are not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def as_they_come(records: AsyncIterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each record as soon as it is there."""
    with asyncio.Runner() as runner:
        while record := runner.run(_next(records)):
            yield record


async def _next(records: AsyncIterator[dict[str, Any]]) -> dict[str, Any] | None:
    return await anext(records, None)
