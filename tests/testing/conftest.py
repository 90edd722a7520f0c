from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from tests.support.databases import SERVER

if TYPE_CHECKING:
    from pytest import MonkeyPatch, Pytester, RunResult  # noqa: PT013 - only their names are needed


class RunSuite(Protocol):
    def __call__(
        self, tests: str, *arguments: str, settings: str = "", apart: bool = False
    ) -> RunResult: ...


BEGINNING = """
import asyncio
import pytest
from hephaestus_pg import AsyncStorage, Instance, Names

@pytest.fixture
def hephaestus_options():
    return {"references": Names()}

def order(number=1):
    return Instance.new("Order", {"amount": 99}, id=f"order::{number}")
"""

# The plug-in is named, since it is an entry point only where the package is installed.
PLUGIN = ("-p", "no:hephaestus_pg", "-p", "hephaestus_pg.testing.plugin")


@pytest.fixture
def run_suite(
    pytester: Pytester, monkeypatch: MonkeyPatch, pytestconfig: pytest.Config
) -> RunSuite:
    """Runs a user's suite on the server of these tests, with all warnings as errors."""
    monkeypatch.setenv("HEPHAESTUS_PG_TEST_DSN", pytestconfig.stash[SERVER])

    def run(tests: str, *arguments: str, settings: str = "", apart: bool = False) -> RunResult:
        pytester.makepyfile(BEGINNING + tests)
        pytester.makeini(
            "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
            + settings
        )
        given = (*PLUGIN, "-p", "no:cacheprovider", *arguments)
        if apart:
            # The others that are installed here take most of the time of a process.
            monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            return pytester.runpytest_subprocess("-p", "pytest_asyncio.plugin", *given)
        return pytester.runpytest_inprocess(*given)

    return run
