"""The suite catches each seeded bug, and each of its tests catches one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from hephaestus_pg.testing import conformance
from tests.testing.conformance.mutants import mutants

if TYPE_CHECKING:
    from tests.support.databases import Owner

CHECKOUT = Path(__file__).parents[3]
SEEDED = Path(__file__).with_name("seeded.py")
OPTIONS = (
    *("-o", "asyncio_default_fixture_loop_scope=session"),
    *("-o", "asyncio_default_test_loop_scope=session"),
    *("--noconftest", "-p", "no:cacheprovider", "-p", "hephaestus_pg.testing.plugin"),
    *("-q", "-r", "N", "--tb=no", "--color=no"),
)


@pytest.mark.once
def test_each_bug_is_caught_by_its_suite_and_each_test_catches_one(
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
    passed, failed = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for case in ElementTree.parse(xml).iter("testcase"):
        kind = case.attrib["classname"].rpartition(".Test")[2]
        is_bad = any(case.findall(each) for each in ("failure", "error", "skipped"))
        (failed if is_bad else passed)[kind].add(case.attrib["name"].partition("[")[0])

    tests = {
        test
        for suite in conformance.CAPABILITIES.values()
        for test in vars(suite)
        if test.startswith("test_")
    }
    assert (passed.pop("Sound"), failed.pop("Sound", set())) == (tests, set())
    assert {each.__name__ for each in mutants()} - failed.keys() == set()
    assert tests - set().union(*failed.values()) == set()


def test_a_bug_is_seeded_once() -> None:
    names = [each.__name__ for each in mutants()]
    assert len(names) == len(set(names))
    assert {each.capability for each in mutants()} == conformance.CAPABILITIES.keys()
