"""Hooks: the user's functions that a pool calls, and the errors that they raise.

A hook may set something of its caller's on a connection, such as a tenant's id for row-level
security. So calls on a pool with hooks share no statements unless the user says so.
"""

from __future__ import annotations

import asyncio
import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg.driver.errors import DRIVER_ERRORS, translate
from hephaestus_pg.errors import DatabaseError, HephaestusError, HookError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncpg import Pool

    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.errors import Applied

HOOKS = ("connect", "init", "setup", "reset", "password")
"""The options of a pool that may be functions."""

_SOME_HOOK = "a hook of the pool (connect, init, setup, reset or password)"
_SOME_CODE = "code that was given to the connection (a codec, a listener or a class)"


def pool_hooks(pool: Pool[Any]) -> list[str]:
    """Names the hooks of a user's pool: whatever may run other code than asyncpg's own.

    A hook that a later asyncpg keeps under another name counts as given.
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


def option_hooks(options: Mapping[str, Any]) -> list[str]:
    """Names the hooks among the options for a pool of our own."""
    found = [name for name in HOOKS if callable(options.get(name))]
    return found + ["connection_class"] * ("connection_class" in options)


def wrap_hooks(options: dict[str, Any]) -> dict[str, Any]:
    """Wraps each hook among the options, so that it raises a :class:`HookError` that names it."""
    hooks = {name: _wrap(name, options[name]) for name in HOOKS if callable(options.get(name))}
    return {**options, **hooks}


def _wrap(name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(hook, updated=())
    async def called(*arguments: Any, **options: Any) -> Any:
        try:
            result = hook(*arguments, **options)
            return await result if inspect.isawaitable(result) else result
        except BaseException as error:
            if (ours := hook_error(error, name)) is None:
                raise
            raise ours from error

    return called


def translate_any(error: BaseException, connection: AnyConnection | None) -> BaseException:
    """Translates whatever a call on a connection raised: an error of the driver's or of a hook's.

    ``connection`` is the one that was used, ``None`` if there was none yet. An error that is to be
    raised as it is comes back as it is.
    """
    connecting = connection is None
    if isinstance(error, HephaestusError):
        return error
    if isinstance(error, DRIVER_ERRORS):
        return translate(error, connecting=connecting, connection=connection)
    hook = _SOME_HOOK if connecting else _SOME_CODE
    return hook_error(error, hook, applied="no" if connecting else "unknown") or error


def hook_error(error: BaseException, hook: str, *, applied: Applied = "no") -> HookError | None:
    """Makes the error for what a hook raised; ``None`` if that is to be raised as it is.

    That holds for our own errors, for those that end the program, for a cancellation that somebody
    requested, and where a connection broke or could not be had: there another try may help.
    """
    if isinstance(error, DatabaseError):
        return None
    if isinstance(error, asyncio.CancelledError):
        if cancel_requested():
            return None
    elif not isinstance(error, Exception):
        return None
    if isinstance(error, OSError):  # such as that of a service that hands out passwords
        if hook == "connect":
            return None  # no connection could be had: another try may help
        return HookError(hook, error, applied=applied, retryable=True)
    if isinstance(error, DRIVER_ERRORS) and translate(error).retryable:
        return None
    return HookError(hook, error, applied=applied, retryable=False)


def cancel_requested() -> bool:
    """Returns ``True`` if somebody cancelled this task; a hook may raise CancelledError unasked."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
