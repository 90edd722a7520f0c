from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    migrate,
)

if TYPE_CHECKING:
    from tests.support.migrated import Run


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dsn: str, schema: str
) -> Run:
    """Run the command on a schema of its own: exit code, standard output, standard error."""
    monkeypatch.setenv("HEPHAESTUS_PG_DSN", dsn)

    def command(*arguments: str, where: str | None = schema) -> tuple[int, str, str]:
        try:
            code: Any = migrate.main([*arguments, *(["--schema", where] if where else [])])
        except SystemExit as error:
            code = error.code
        out, err = capsys.readouterr()
        return code, out, err

    return command
