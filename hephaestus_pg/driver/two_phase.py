"""Commits on several workers of Citus, the end of which one of them may not hear.

Once all workers are prepared, the coordinator commits, and tells them. One that is gone by then is
told when it is back (``citus.recover_2pc_interval``); until then it shows its rows as they were.
Citus answers with success and a warning, ``FinishRemoteTransactionCommit`` in
https://github.com/citusdata/citus/blob/v13.2.0/src/backend/distributed/transaction/remote_transaction.c.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from hephaestus_pg.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hephaestus_pg.driver.errors import AnyConnection

Result = TypeVar("Result")

_UNHEARD = "failed to commit transaction on "


async def heard_by_all(connection: AnyConnection, work: Callable[[], Awaitable[Result]]) -> Result:
    """The result of ``work`` on the connection, if what it committed shows on every worker.

    Raises:
        ConnectionLostError: A worker does not show it yet.
    """
    unheard: list[str] = []

    def listen(_: object, notice: Any) -> None:
        if notice.message.startswith(_UNHEARD):
            unheard.append(notice.message.removeprefix(_UNHEARD))

    connection.add_log_listener(listen)
    try:
        result = await work()
    finally:
        with suppress(asyncpg.InterfaceError):  # it broke, and has left its pool
            connection.remove_log_listener(listen)
    if unheard:
        raise ConnectionLostError(
            f"the worker {unheard[0]} was lost while Citus committed: its rows show what was "
            "written once it is back and Citus has told it (citus.recover_2pc_interval)",
            applied="unknown",
            retryable=True,
        )
    return result
