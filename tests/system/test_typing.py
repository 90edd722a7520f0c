"""Two clients of the public names are checked by mypy and basedpyright, where those are installed.

In one some lines are wrong, and each of them must be an error. The other uses every public name,
and must have none in strict mode: no type of it may be unknown.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hephaestus_pg

pytestmark = pytest.mark.once

TYPED_CLIENT = Path(__file__).with_name("typed_client.py")

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
    Storage,
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
    async with storage.transaction() as transaction:
        held: tuple[Storage, ...] = (storage, transaction, storage.using(transaction.connection))
    await held[0].query(statuses="pending")  # wrong
    await held[0].count(status="Pending")  # wrong


class Double(AsyncStorage):
    pass


class Unlike(AsyncStorage):
    async def delete(self, id: int) -> bool:  # wrong
        return True


doubles: list[Storage] = [Double()]
doubles.append(Unlike())  # wrong
doubles.append("a name")  # wrong
"""


def marked(*marks: str) -> set[int]:
    """The lines that end so."""
    return {n for n, line in enumerate(CLIENT.splitlines(), 1) if line.endswith(marks)}


@pytest.fixture
def client(tmp_path: Path) -> Path:
    client = tmp_path / "client.py"
    client.write_text(CLIENT)
    return client


def run(module: str, *arguments: str | Path, cwd: Path, code: int) -> str:
    """Runs the checker away from the checkout and its settings, and gives its output."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def mypy(client: Path, *, code: int) -> str:
    cache = client.parent / "cache"
    return run("mypy", "--strict", "--cache-dir", cache, client, cwd=client.parent, code=code)


def pyright(client: Path, *, code: int) -> list[tuple[int, str]]:
    """Each error's line and message."""
    arguments = ("--outputjson", "--level", "error", "--pythonpath", sys.executable)
    out = run("basedpyright", *arguments, client, cwd=client.parent, code=code)
    return [
        (each["range"]["start"]["line"] + 1, each["message"])
        for each in json.loads(out)["generalDiagnostics"]
        if each["severity"] == "error"
    ]


def test_mypy_sees_what_is_wrong(client: Path) -> None:
    out = mypy(client, code=1)
    found = re.findall(r"^client\.py:(\d+): error", out, re.MULTILINE)
    assert set(map(int, found)) == marked("# wrong", "# wrong, to mypy"), out


def test_pyright_sees_what_is_wrong(client: Path) -> None:
    found = pyright(client, code=1)
    assert {line for line, _ in found} == marked("# wrong"), found


@pytest.fixture
def typed_client(tmp_path: Path) -> Path:
    # Strict mode makes an error of whatever is unknown.
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    return Path(shutil.copy(TYPED_CLIENT, tmp_path / "client.py"))


def test_the_client_uses_every_public_name() -> None:
    tree = ast.parse(TYPED_CLIENT.read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "pg"
    }
    assert used == set(hephaestus_pg.__all__)


def test_every_public_name_is_typed_to_mypy(typed_client: Path) -> None:
    mypy(typed_client, code=0)


def test_every_public_name_is_typed_to_pyright(typed_client: Path) -> None:
    assert pyright(typed_client, code=0) == []


def test_pyright_would_see_a_type_that_is_unknown(typed_client: Path) -> None:
    with typed_client.open("a", encoding="utf-8") as file:
        file.write("\n\ndef untyped(value):\n    print(value)\n")
    assert any("unknown" in message for _, message in pyright(typed_client, code=1))
