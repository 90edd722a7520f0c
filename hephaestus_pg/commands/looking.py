"""A look at one schema or at all, printed as a table or as JSON, once or again and again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hephaestus_pg.cli import options
from hephaestus_pg.cli.json_lines import json_text
from hephaestus_pg.cli.storages import connected, schemas, started
from hephaestus_pg.cli.watching import remark, watch
from hephaestus_pg.errors import HephaestusError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager

    from hephaestus_pg.storage import AsyncStorage

T = TypeVar("T")

NOTHING = 1
"""The exit code where nothing was found."""


@dataclass(frozen=True, slots=True)
class Look(Generic[T]):
    """What a command finds, and how it is shown."""

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
        pool = await stack.enter_async_context(connected(given.dsn, timeout=given.timeout))
        found = await schemas(pool) if given.all_schemas else [given.schema]
        opened: list[AsyncStorage] = []
        failed = False
        for schema in found:
            try:
                starting = started(pool, schema, timeout=given.timeout)
                opened.append(await stack.enter_async_context(starting))
            except HephaestusError as error:
                _allow(error, schema, given)
                failed = True
        if given.watch is not None:
            await watch(
                lambda: _look(look, opened, given),
                every=given.watch,
                title=None if given.json else _title(given),
            )
        code = await _look(look, opened, given)
        return options.FAILED if failed else code


async def _look(look: Look[Any], opened: list[AsyncStorage], given: argparse.Namespace) -> int:
    remarks: list[str] = []
    has_found = has_failed = False
    with _as_json(look) if given.json else look.printed(given) as show:
        for storage in opened:
            try:
                async for each in look.find(storage, given, remarks):
                    has_found = True
                    show(storage.schema, each)
            except HephaestusError as error:
                _allow(error, storage.schema, given)
                has_failed = True
    if not (has_found or has_failed):
        remarks.append(look.nothing(given))
    for each in remarks:
        remark(each)
    return options.FAILED if has_failed else 0 if has_found else NOTHING


def _title(given: argparse.Namespace) -> str:
    return "all schemas" if given.all_schemas else f"schema {given.schema}"


def _allow(error: HephaestusError, schema: str, given: argparse.Namespace) -> None:
    """Raises the error; but where one schema is among several, says it and leaves that one out."""
    if not given.all_schemas:
        raise error
    remark(f"error: schema {schema}: {options.one_line(error)}")


@contextmanager
def _as_json(look: Look[T]) -> Iterator[Callable[[str, T], None]]:
    yield lambda schema, found: print(json_text({"schema": schema, **look.plain(found)}))


def schema_column(given: argparse.Namespace) -> tuple[str, ...]:
    """The name of the first column where there are several schemas; else there is none."""
    return ("schema",) if given.all_schemas else ()


def schema_cell(given: argparse.Namespace, schema: str) -> tuple[str, ...]:
    """The text of that column."""
    return (schema,) if given.all_schemas else ()
