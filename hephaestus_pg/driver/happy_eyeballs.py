"""Connecting to the first of several hosts that answers, as in RFC 8305, "Happy Eyeballs"."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

from hephaestus_pg.errors import DatabaseError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")

HEAD_START = 0.25
"""Seconds that a host has to itself before the next one is tried as well."""


async def first_to_connect(
    attempts: Sequence[Callable[[], Awaitable[T]]], *, discard: Callable[[T], None]
) -> tuple[int, T]:
    """Returns the result of the first attempt to succeed, and its index.

    An attempt begins when the one before it has failed or has taken :data:`HEAD_START` seconds: so
    a silent host uses up neither the time of the others nor that of the caller, whose deadline is
    not known here. ``discard`` is called with each result that came too late.

    Raises:
        DatabaseError: All attempts failed; a final error takes precedence over one that may pass.
    """
    won: list[tuple[int, T]] = []
    failures: list[Exception] = []

    async def attempt(index: int, ended: anyio.Event) -> None:
        try:
            won.append((index, await attempts[index]()))
            group.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - one of them is raised below
            failures.append(error)
        finally:
            ended.set()

    try:
        async with anyio.create_task_group() as group:
            for index in range(len(attempts)):
                ended = anyio.Event()
                group.start_soon(attempt, index, ended)
                with anyio.move_on_after(HEAD_START):
                    await ended.wait()
    except BaseException:
        for _, late in won:
            discard(late)
        raise
    for _, late in won[1:]:
        discard(late)
    if won:
        return won[0]
    raise _most_telling(failures)


def _most_telling(failures: Sequence[Exception]) -> Exception:
    """Chooses the error to raise: a wrong password tells more than a host that is down."""
    if not failures:  # a program that ends by cancelling every task has cancelled the attempts too
        return UnavailableError(
            "no connection to PostgreSQL: the tries to connect were cancelled",
            applied="no",
            retryable=True,
        )
    telling = next((each for each in failures if not _is_transient(each)), failures[-1])
    if isinstance(telling, DatabaseError):
        # A host that refuses us for good does not keep another one from coming back.
        telling.retryable = any(map(_is_transient, failures))
    return telling


def _is_transient(error: Exception) -> bool:
    return isinstance(error, DatabaseError) and error.retryable
