"""Every module has the test file of its name, every folder says what it is, every room is quick."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import hephaestus_pg

pytestmark = pytest.mark.quick

PACKAGE = Path(hephaestus_pg.__file__).parent
TESTS = Path(__file__).parents[1]

MODULES = sorted(
    path.relative_to(PACKAGE).with_suffix("")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)
FOLDERS = sorted({path.parent for path in PACKAGE.rglob("__init__.py")})

_SUITE = "test_storages.py runs it, and test_mutants.py shows what it catches"

WITHOUT_TESTS = {
    "demo/__main__": "it calls demo.command",
    "execution/executor": "an interface; each of the two classes that have it has its tests",
    "migrate/__main__": "it calls migrate.commands",
    **{
        f"testing/conformance/{module}": _SUITE
        for module in (
            *("all", "bulk", "claims", "concurrency", "faults", "scheduling", "search"),
            *("single", "suite", "values"),
        )
    },
    "migrations/__main__": "it says that the command is migrate; migrate/test_arguments.py runs it",
}


def file_of(module: Path) -> Path:
    """Where the tests of a module are: ``_sql`` and ``__main__`` drop their underscores."""
    return TESTS / module.with_name(f"test_{module.name.strip('_')}.py")


@pytest.mark.parametrize("module", list(MODULES), ids=str)
def test_a_module_has_the_test_file_of_its_name(module: Path) -> None:
    assert file_of(module).exists() is (module.as_posix() not in WITHOUT_TESTS)


def test_each_exception_is_a_module_that_there_is() -> None:
    assert WITHOUT_TESTS.keys() <= {module.as_posix() for module in MODULES}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_says_in_its_docstring_what_it_is(folder: Path) -> None:
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert any(folder.glob("[a-z]*.py"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_room_has_tests_that_run_while_typing(folder: Path) -> None:
    room = TESTS / folder.relative_to(PACKAGE)
    files = [path.read_text(encoding="utf-8") for path in room.glob("test_*.py")]
    assert any("pytest.mark.quick" in text for text in files)
