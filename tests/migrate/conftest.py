from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import migrate
from tests.support.commands import ran

if TYPE_CHECKING:
    from tests.support.commands import Run


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dsn: str, schema: str
) -> Run:
    """Run the command on a schema of its own: exit code, standard output, standard error."""
    monkeypatch.setenv("HEPHAESTUS_PG_DSN", dsn)

    def command(*arguments: str, where: str | None = schema) -> tuple[int, str, str]:
        return ran(migrate.main, capsys, *arguments, *(["--schema", where] if where else []))

    return command
