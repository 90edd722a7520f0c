from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import AsyncStorage, Names
from hephaestus_pg.__main__ import main
from tests.support.commands import ran, set_terminal

EXHAUSTED = "attempts = 5, due_at = 'infinity'"
_PAST = "timezone('UTC', now()) - interval '190 minutes'"
LEFT = f"inserted_at = {_PAST}, updated_at = {_PAST}"

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.commands import Run
    from tests.support.databases import Owner

    Change = Callable[..., None]
    Do = Callable[[Callable[[AsyncStorage], Awaitable[Any]]], Any]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dsn: str, migrated: str
) -> Run:
    """Run a command on a schema of its own: exit code, standard output, standard error."""
    monkeypatch.setenv("HEPHAESTUS_PG_DSN", dsn)

    def command(*arguments: str, where: str | None = migrated) -> tuple[int, str, str]:
        return ran(main, capsys, *arguments, *(["--schema", where] if where else []))

    return command


@pytest.fixture
def do(dsn: str, migrated: str) -> Do:
    """Does something with a storage on that schema, which is closed again."""

    def done(work: Callable[[AsyncStorage], Awaitable[Any]]) -> Any:
        async def within() -> Any:
            start = AsyncStorage.start(dsn, schema=migrated, references=Names(), max_size=2)
            async with start as storage:
                return await work(storage)

        return asyncio.run(within())

    return done


@pytest.fixture
def change(owner: Owner, migrated: str) -> Change:
    """Sets columns of an instance, or of all of them, as SQL of the reader's might."""

    def changed(columns: str, id: str | None = None) -> None:
        where = f" WHERE id = '{id}'" if id else ""
        owner.execute(f"UPDATE {migrated}.workflow_instances SET {columns}{where}")

    return changed


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the output a terminal of so many columns, with colours."""
    return lambda columns: set_terminal(monkeypatch, columns)
