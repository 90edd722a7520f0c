from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import AsyncStorage, Names
from hephaestus_pg.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Run = Callable[..., tuple[int, str, str]]
    Do = Callable[[Callable[[AsyncStorage], Awaitable[Any]]], Any]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dsn: str, migrated: str
) -> Run:
    """Run a command on a schema of its own: exit code, standard output, standard error."""
    monkeypatch.setenv("HEPHAESTUS_PG_DSN", dsn)

    def command(*arguments: str, where: str | None = migrated) -> tuple[int, str, str]:
        try:
            code: Any = main([*arguments, *(["--schema", where] if where else [])])
        except SystemExit as error:
            code = error.code
        out, err = capsys.readouterr()
        return code, out, err

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
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the output a terminal of so many columns, with colours."""

    def wide(columns: int) -> None:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))

    return wide
