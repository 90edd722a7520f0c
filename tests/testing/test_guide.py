"""The tests that the guide shows, run with what the plug-in's fixtures give."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg.testing import Clock, Faults
from tests.system.test_readme import GUIDE, blocks

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage

pytestmark = pytest.mark.skipif(not GUIDE.exists(), reason="there is no guide beside these tests")


async def test_the_tests_of_the_guide_pass(moved: AsyncStorage) -> None:
    names: dict[str, Any] = {}
    for block in blocks(GUIDE, "python"):
        if "hephaestus_clock" in block or "hephaestus_faults" in block:
            exec(block, names)
    shown = [each for name, each in names.items() if name.startswith("test_")]
    for test in shown:
        with Faults(moved) as faults:
            given = {
                "hephaestus_storage": moved,
                "hephaestus_clock": Clock(moved),
                "hephaestus_faults": faults,
            }
            await test(**{name: given[name] for name in inspect.signature(test).parameters})
    assert len(shown) == 2
