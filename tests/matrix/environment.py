"""Runs the suite in an environment of its own."""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from tests.matrix.pairs import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.matrix.pairs import Server

CHECKOUT = Path(__file__).parents[2]
LAST_LINES = 40
"""Lines of a failed run's output that are shown."""

_BINARIES = "from hephaestus_pg.embedded import EmbeddedServer; print(EmbeddedServer().binaries)"
_CHOSEN = ("DSN", "BINARIES", "IMAGE")


class Environment:
    """A virtual environment with the checkout and what its tests need."""

    def __init__(self, interpreter: Path, folder: Path) -> None:
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
        self._python = folder / "bin" / "python"
        pip: list[str | Path] = [self._python, "-m", "pip", "install", "-qq"]
        subprocess.run([*pip, "--upgrade", "pip"], check=True)  # groups need 25.1
        installed = ["--editable", ".[cli,embedded]", "--group", "test"]
        subprocess.run([*pip, *installed], check=True, cwd=CHECKOUT)

    def run(self, server: Server, arguments: Sequence[str]) -> Result:
        """Runs pytest on the server; what it prints is shown if it fails."""
        process = subprocess.Popen(
            [self._python, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", *arguments],
            cwd=CHECKOUT,
            env=inherited(os.environ) | (dict(server.variables) or self._embedded()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout
        ran_on, last = "", deque[str](maxlen=LAST_LINES)
        for line in process.stdout:
            ran_on = ran_on or server_of(line)
            last.append(line.rstrip())
        result = judged(process.wait(), last[-1] if last else "", ran_on, server.version)
        if result.code:
            print(*last, sep="\n", flush=True)
        return result

    def _embedded(self) -> dict[str, str]:
        # Named, because a container would come first where Docker answers.
        found = subprocess.run(
            [self._python, "-c", _BINARIES], check=True, capture_output=True, text=True
        )
        return {"HEPHAESTUS_PG_TEST_BINARIES": found.stdout.strip()}


def inherited(environment: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """The variables of this process without those that would choose another server or package."""
    chosen = {"PYTHONPATH", "VIRTUAL_ENV", *(f"HEPHAESTUS_PG_TEST_{name}" for name in _CHOSEN)}
    return {name: value for name, value in environment.items() if name not in chosen}


def server_of(line: str) -> str:
    """The major version of the server, if this is the header's line about it."""
    match = re.match(r"PostgreSQL (\d+)\S*: ", line)
    return match[1] if match else ""


def judged(code: int, last_line: str, ran_on: str, version: str) -> Result:
    """The result of a run that must have been on that version."""
    summary = last_line.strip("= ")
    if ran_on and ran_on != version:
        return Result(code or 1, f"it ran on PostgreSQL {ran_on}")
    return Result(code, summary)
