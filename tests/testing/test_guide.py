"""The tests that the README and the guide show pass, as suites of a user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.test_readme import GUIDE, README, blocks

if TYPE_CHECKING:
    from tests.testing.conftest import RunSuite

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.skipif(not GUIDE.exists(), reason="there is no guide beside these tests")


def test_the_tests_in_the_guide_pass(pytester: pytest.Pytester, run_suite: RunSuite) -> None:
    shown = blocks(GUIDE, "python")
    program = next(block for block in shown if "asyncio.run(" in block)
    pytester.makepyfile(orders=program.removesuffix("asyncio.run(main())\n"))
    pytester.syspathinsert()
    tests = "\n".join(block for block in shown if "def test_" in block)

    run_suite(tests, beginning="").assert_outcomes(passed=tests.count("def test_"))


WORK = """
    from dataclasses import replace
    from hephaestus_pg import AsyncStorage, Status

    async def work(runner):
        storage = AsyncStorage.named()
        async for claim in runner.claims():
            async with claim as order:
                for step in {"charge", "ship"} - order.completed_steps:
                    done = order.completed_steps | {step}
                    order = await storage.update(replace(order, completed_steps=done))
                await storage.update(replace(order, status=Status.COMPLETED))
"""


def test_the_tests_in_the_readme_pass(pytester: pytest.Pytester, run_suite: RunSuite) -> None:
    pytester.makepyfile(orders=WORK)
    pytester.syspathinsert()
    [tests] = [block for block in blocks(README, "python") if "def test_" in block]

    run_suite(tests, beginning="").assert_outcomes(passed=2)
