"""The tests that the guide shows pass, as a suite of a user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.test_readme import GUIDE, blocks

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

    run_suite(tests).assert_outcomes(passed=tests.count("def test_"))
