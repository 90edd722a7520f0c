"""The suite catches each seeded bug, and each of its tests catches one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from hephaestus_pg.testing import conformance
from tests.testing.conformance.mutants import mutants

if TYPE_CHECKING:
    from tests.support.databases import Owner

SUITES = conformance.CAPABILITIES.values()
TESTS = {name for suite in SUITES for name in vars(suite) if name.startswith("test_")}
CHECKOUT = Path(__file__).parents[3]
SEEDED = Path(__file__).with_name("seeded.py").relative_to(CHECKOUT)
OPTIONS = (
    *("-o", "asyncio_default_fixture_loop_scope=session"),
    *("-o", "asyncio_default_test_loop_scope=session"),
    *("--noconftest", "-p", "no:cacheprovider", "-p", "hephaestus_pg.testing.plugin"),
    *("-q", "-r", "N", "--tb=no", "--color=no", "-n", "2"),
)


# With workers, from which the report has to come together.
REPORTED = """
tests/testing/conformance/seeded.py::TestPutReplacesTheVersion
  values       not tried
  single       holds 0 of 21
    does not hold: put replaces everything but version and inserted at
"""


@pytest.mark.once
def test_each_bug_is_caught_by_the_tests_that_it_names(
    owner: Owner, dsn: str, migrated: str, tmp_path: Path
) -> None:
    # It would raise the revision where a statement doesn't, which is one of the bugs.
    owner.execute(f"DROP TRIGGER hephaestus_pg_raise_revision ON {migrated}.workflow_instances")
    xml = tmp_path / "results.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, f"--junitxml={xml}", SEEDED],
        cwd=CHECKOUT,
        env=os.environ | {"HEPHAESTUS_PG_DSN": dsn, "CONFORMANCE_SCHEMA": migrated},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert REPORTED in done.stdout
    passed, failed = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for case in ET.parse(xml).iter("testcase"):
        kind = case.attrib["classname"].rpartition(".Test")[2]
        is_bad = any(case.findall(each) for each in ("failure", "error", "skipped"))
        (failed if is_bad else passed)[kind].add(case.attrib["name"].partition("[")[0])
    assert (passed["Sound"], failed["Sound"]) == (TESTS, set())
    for each in mutants():
        assert failed[each.__name__] == set(each.caught_by), each


def test_each_test_of_the_suite_catches_a_bug() -> None:
    assert {test for each in mutants() for test in each.caught_by} == TESTS


def test_a_bug_is_caught_by_one_capability() -> None:
    for each in mutants():
        wanted = [suite for suite in SUITES if set(each.caught_by) & vars(suite).keys()]
        assert len(wanted) == 1, each
