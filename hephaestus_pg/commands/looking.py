"""A look at one schema or at all, printed as a table or as JSON, once or again and again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hephaestus_pg.cli import options
from hephaestus_pg.cli.json_lines import json_text
from hephaestus_pg.cli.storages import connected, schemas, started
from hephaestus_pg.cli.tables import Table
from hephaestus_pg.cli.watching import remark, watch
from hephaestus_pg.errors import HephaestusError, UnavailableError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Collection, Iterator
    from contextlib import AbstractContextManager

    from asyncpg import Pool

    from hephaestus_pg.storage import AsyncStorage

T = TypeVar("T")

NOTHING = 1
"""The exit code where nothing was found."""


@dataclass(frozen=True, slots=True)
class Look(Generic[T]):
    """A command's look at a storage: how it finds things, and how they are shown."""

    find: Callable[[AsyncStorage, argparse.Namespace, list[str]], AsyncIterator[T]]
    """Finds it in a storage; remarks that it adds to the list are printed at the end."""
    plain: Callable[[T], dict[str, Any]]
    """Makes an object of it that JSON can hold."""
    printed: Callable[[argparse.Namespace], AbstractContextManager[Callable[[str, T], None]]]
    """Prints it for a person: a function of a schema and what was found there, in a block."""
    nothing: Callable[[argparse.Namespace], str]
    """The remark where nothing was found."""


def run(look: Look[Any], given: argparse.Namespace) -> int:
    """Takes the look, and returns the exit code: 0 if something was found, 1 if not, 2 an error."""
    with options.warnings_shown():
        return options.exit_code(lambda: asyncio.run(_run(look, given)))


async def _run(look: Look[Any], given: argparse.Namespace) -> int:
    async with AsyncExitStack() as stack:
        connecting = connected(given.dsn, timeout=given.timeout, pgbouncer=given.pgbouncer)
        pool = await stack.enter_async_context(connecting)
        tenants = _Tenants(pool, stack, given)
        if given.watch is not None:
            if not given.all_schemas:
                await tenants.storage(given.schema)  # a wrong name ends the command
            await watch(
                lambda: _look(look, tenants, given),
                every=given.watch,
                title=None if given.json else _title(given),
            )
        return await _look(look, tenants, given)


class _Tenants:
    """The schemas that are asked for, and their storages, each started when it is first used."""

    def __init__(self, pool: Pool[Any], stack: AsyncExitStack, given: argparse.Namespace) -> None:
        self._pool = pool
        self._stack = stack
        self._given = given
        self._started: dict[str, AsyncStorage] = {}

    async def schemas(self, remarks: list[str]) -> list[str]:
        """Names the schemas; those that are left out are added to the remarks.

        Raises:
            HephaestusError: There is none to look at, which is not that nothing was found.
        """
        if not self._given.all_schemas:
            return [self._given.schema]
        found = await schemas(self._pool, timeout=self._given.timeout)
        readable = [schema for schema, may_read in found.items() if may_read]
        hidden = ", ".join(schema for schema, may_read in found.items() if not may_read)
        if not readable:
            problem = "no schema has a table workflow_instances"
            if hidden:
                problem = f"this role may read the table workflow_instances in none of {hidden}"
            raise HephaestusError(f"{problem}; look at --dsn")
        if hidden:
            remarks.append(f"left out, as this role may not read it: {hidden}")
        return readable

    async def storage(self, schema: str) -> AsyncStorage:
        """Returns the storage of a schema."""
        if schema not in self._started:
            starting = started(self._pool, schema, timeout=self._given.timeout)
            self._started[schema] = await self._stack.enter_async_context(starting)
        return self._started[schema]


async def _look(look: Look[Any], tenants: _Tenants, given: argparse.Namespace) -> int:
    remarks: list[str] = []
    has_found = has_failed = False
    with _as_json(look) if given.json else look.printed(given) as show:
        for schema in await tenants.schemas(remarks):
            try:
                async for each in look.find(await tenants.storage(schema), given, remarks):
                    has_found = True
                    show(schema, each)
            except HephaestusError as error:
                # Of several schemas the others are shown, but not of a server that has gone.
                if not given.all_schemas or isinstance(error, UnavailableError):
                    raise
                remarks.append(f"error: schema {schema}: {options.one_line(error)}")
                has_failed = True
    if not (has_found or has_failed):
        remarks.append(look.nothing(given))
    for each in remarks:
        remark(each)
    return options.FAILED if has_failed else 0 if has_found else NOTHING


def _title(given: argparse.Namespace) -> str:
    return "all schemas" if given.all_schemas else f"schema {given.schema}"


@contextmanager
def _as_json(look: Look[T]) -> Iterator[Callable[[str, T], None]]:
    yield lambda schema, found: print(json_text({"schema": schema, **look.plain(found)}))


@contextmanager
def table(
    given: argparse.Namespace, *names: str, long: Collection[str] = (), **kinds: Collection[str]
) -> Iterator[Callable[..., None]]:
    """Prints a :class:`Table`; a row is added by a call with its schema and its texts.

    The schema is the first column where there are several.
    """
    first = ("schema",) if given.all_schemas else ()
    with Table(*first, *names, long=(*first, *long), **kinds) as made:
        yield lambda *row: made.add(*(row if first else row[1:]))
