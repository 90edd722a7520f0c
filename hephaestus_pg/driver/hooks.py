"""Functions of the user's that a pool calls: which a pool has, and what becomes of their errors.

A hook may give a connection something of the caller on whose behalf it is taken, such as a tenant's
id for row-level security. So what runs with hooks is not shared among callers unless they say so.
"""

from __future__ import annotations

import asyncio
import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.driver.errors import DRIVER_ERRORS, translated
from hephaestus_pg.errors import DatabaseError, HephaestusError, HookError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncpg import Pool

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.errors import Applied

HOOKS = ("connect", "init", "setup", "reset", "password")
"""Options of a pool that may be functions."""

_SOME_HOOK = "a hook of the pool (connect, init, setup, reset or password)"
_SOME_CODE = "code that was given to the connection (a codec, a listener or a class)"


def hooks_of(pool: Pool[Any]) -> list[str]:
    """The hooks of a pool of the user's: whatever may run other code than asyncpg's own.

    Where a later asyncpg keeps one under another name, it counts as given.
    """
    found = [name for name in ("init", "setup", "reset") if getattr(pool, f"_{name}", True)]
    if getattr(pool, "_connect", None) is not asyncpg.connect:
        found.append("connect")
    options: Mapping[str, Any] = getattr(pool, "_connect_kwargs", {"password": callable})
    if callable(options.get("password")):
        found.append("password")
    if getattr(pool, "_connection_class", None) is not asyncpg.Connection:
        found.append("connection_class")
    if type(pool) is not asyncpg.Pool:
        found.append(type(pool).__name__)
    return found


def given_hooks(options: Mapping[str, Any]) -> list[str]:
    """The hooks among the options of a pool of our own."""
    found = [name for name in HOOKS if callable(options.get(name))]
    return found + ["connection_class"] * ("connection_class" in options)


def named_hooks(options: dict[str, Any]) -> dict[str, Any]:
    """The options, with each hook raising its errors as a :class:`HookError` that names it."""
    hooks = {name: _named(name, options[name]) for name in HOOKS if callable(options.get(name))}
    return {**options, **hooks}


def _named(name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(hook, updated=())
    async def called(*arguments: Any, **options: Any) -> Any:
        try:
            result = hook(*arguments, **options)
            return await result if inspect.isawaitable(result) else result
        except BaseException as error:
            if (ours := from_hook(error, name)) is None:
                raise
            raise ours from error

    return called


def as_ours(error: BaseException, connection: AnyConnection | None) -> BaseException:
    """The error of a connection, or of a hook while it is opened or used, as one of ours.

    ``connection``: the one that was used; ``None`` while there was none yet.
    """
    connecting = connection is None
    if isinstance(error, HephaestusError):
        return error
    if isinstance(error, DRIVER_ERRORS):
        return translated(error, connecting=connecting, connection=connection)
    hook = _SOME_HOOK if connecting else _SOME_CODE
    return from_hook(error, hook, applied="no" if connecting else "unknown") or error


def from_hook(error: BaseException, hook: str, *, applied: Applied = "no") -> HookError | None:
    """The error of a hook as ours; ``None`` of one that is to be raised as it is.

    Those are our own, what ends the program, a cancellation that was asked for, and what says that
    a connection broke or was not to be had: another try may mend that.
    """
    if isinstance(error, DatabaseError):
        return None
    if isinstance(error, asyncio.CancelledError):
        if cancelled():
            return None
    elif not isinstance(error, Exception):
        return None
    outage = isinstance(error, OSError)  # of a service that hands out passwords, for one
    if isinstance(error, DRIVER_ERRORS) and (
        hook == "connect" if outage else translated(error).retryable
    ):
        return None
    return HookError(hook, error, applied=applied, retryable=outage)


def cancelled() -> bool:
    """Whether somebody asked for the running task's cancellation: a hook may raise one unasked."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
