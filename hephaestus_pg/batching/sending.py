"""Sends a batch as one statement, and answers each of its requests."""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING

from hephaestus_pg.errors import (
    AccessDeniedError,
    ConflictError,
    HephaestusError,
    OperationInterruptedError,
    OperationTimeoutError,
    RejectedError,
)

if TYPE_CHECKING:
    from asyncpg import Record

    from hephaestus_pg.batching.queue import Request, RequestQueue, Run

# One request may be to blame and the others may not; or a role's statement_timeout is too short for
# all of them together, and not for each.
_DIVISIBLE = (RejectedError, AccessDeniedError, ConflictError, OperationTimeoutError)


async def send(run: Run, batch: list[Request], queue: RequestQueue) -> None:
    """Sends the requests as one statement, answers each by its row, and ends them in the queue."""
    loop = asyncio.get_running_loop()
    deadline = max([request.deadline for request in batch])
    began = loop.time()
    try:
        answers = await _rows_by_id(run, deadline, batch)
    except _DIVISIBLE as error:
        now = loop.time()
        # Less time is left than this took: the halves would be late too.
        late = isinstance(error, OperationTimeoutError) and deadline - now < now - began
        if len(batch) > 1 and error.applied == "no" and not late:
            await _send_halves(run, batch, queue)
            return
        _fail(batch, error)
    except Exception as error:  # noqa: BLE001 - it is the callers'
        _fail(batch, error)
    else:
        for request in batch:
            if not request.answer.done():
                request.answer.set_result(answers.get(request.id))
    queue.end(batch)


def settle(batch: list[Request], queue: RequestQueue) -> None:
    """Fails the requests that nobody has answered, as of a cancelled task, and ends them all."""
    for request in batch:
        if not request.answer.done():
            request.answer.set_exception(OperationInterruptedError())
    queue.end(batch)


async def _send_halves(run: Run, batch: list[Request], queue: RequestQueue) -> None:
    """Sends the halves apart: the one without the request that is to blame goes through."""
    middle = len(batch) // 2
    await asyncio.gather(
        send(run, batch[:middle], queue),
        send(run, batch[middle:], queue),
        return_exceptions=True,  # of a half that somebody cancelled
    )
    settle(batch, queue)


async def _rows_by_id(run: Run, deadline: float, batch: list[Request]) -> dict[str, Record]:
    run = batch[0].run_for(run, batch)
    statement = batch[0].statement
    if len(batch) == 1:
        [request] = batch
        rows = await run(deadline, statement, *request.arguments)
        return {request.id: rows[0]} if rows else {}
    ids, *rest = map(list, zip(*[request.arguments for request in batch], strict=True))
    rows = await run(deadline, statement.many, ids, *rest)
    found = {row["id"]: row for row in rows}
    if not found.keys() <= set(ids):
        # Whose the others are, nobody can tell; each verb refuses one not its own.
        stray = found[min(found.keys() - set(ids))]
        return {id: found.get(id, stray) for id in ids}
    return found


def _fail(batch: list[Request], error: Exception) -> None:
    for request in batch:
        if not request.answer.done():
            # A copy each, since raising adds to a traceback. Errors of others may not be copyable.
            ours = isinstance(error, HephaestusError)
            own = copy(error) if ours else OperationInterruptedError()
            own.__cause__ = error.__cause__ if ours else error
            request.answer.set_exception(own)
