"""What type checkers say of a small client: what is wrong is an error, what is right is none.

With mypy and basedpyright, where they are installed.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# A line with `# wrong` must be an error, every other must not. What dataclasses.replace takes only
# mypy knows.
CLIENT = """\
from dataclasses import replace
from typing import assert_type

from hephaestus_pg import (
    AsyncStorage,
    Filters,
    Instance,
    LoadedClasses,
    Serializer,
    Status,
)

assert_type(Status.ACTIVE, frozenset[Status])
assert_type(Status.FINISHED, frozenset[Status])
assert_type(Status("pending"), Status)
assert_type(Instance("x", "W").status, Status)
references = LoadedClasses(allow_main=True)
serializer = Serializer(references, elixir=["amount"])

instance = Instance("x", "W", status=Status.PENDING)
misspelt = Instance("x", "W", status="pendingg")  # wrong
replaced = replace(instance, status=Status.RUNNING)
changed = replace(instance, status="pendingg")  # wrong, to mypy
searched: Filters = {"status": "failed", "status_in": {"pending", Status.FAILED}}
unknown: Filters = {"status": "fail"}  # wrong


def order(status: Status) -> int:
    match status:
        case Status.PENDING | Status.RUNNING | Status.WAITING:
            return 1
        case Status.COMPLETED | Status.FAILED:
            return 0


async def main(storage: AsyncStorage) -> None:
    await storage.query(status="pending", status_in=Status.ACTIVE)
    await storage.query(status=Status.FAILED, status_in=["pending", Status.FAILED])
    await storage.count(status_in=("completed",))
    storage.stream(status_in=Status.FINISHED)
    storage.stream(status="x")  # wrong
    await storage.query(status="x")  # wrong
    await storage.count(status="Pending")  # wrong
    await storage.query(status_in=["pendin"])  # wrong
    await storage.query(status_in="pending")  # wrong
"""


def marked(*marks: str) -> set[int]:
    """The lines that end so."""
    return {n for n, line in enumerate(CLIENT.splitlines(), 1) if line.endswith(marks)}


@pytest.fixture
def client(tmp_path: Path) -> Path:
    client = tmp_path / "client.py"
    client.write_text(CLIENT)
    return client


def run(module: str, *arguments: str | Path, cwd: Path) -> str:
    """What the checker prints, run away from the checkout and its settings."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stdout


def test_mypy_sees_what_is_wrong(client: Path) -> None:
    out = run("mypy", "--strict", "--cache-dir", client.parent / "cache", client, cwd=client.parent)

    found = re.findall(r"^client\.py:(\d+): error", out, re.MULTILINE)
    assert set(map(int, found)) == marked("# wrong", "# wrong, to mypy"), out


def test_pyright_sees_what_is_wrong(client: Path) -> None:
    arguments = ("--outputjson", "--level", "error", "--pythonpath", sys.executable)
    out = run("basedpyright", *arguments, client, cwd=client.parent)

    found = [
        each["range"]["start"]["line"] + 1
        for each in json.loads(out)["generalDiagnostics"]
        if each["severity"] == "error"
    ]
    assert set(found) == marked("# wrong"), out
