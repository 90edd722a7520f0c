"""The tables that are published are those of the records beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("benchmarks")  # a checkout has them, and the extras that draw and measure
report = pytest.importorskip("benchmarks.reporting.report")

pytestmark = pytest.mark.quick

RESULTS = Path(report.__file__).parents[1] / "results"

EARLIER = {"", "large", "runners"}
"""Folders with records of scenarios that are no longer measured like that."""

FOLDERS = sorted({each.parent for each in RESULTS.rglob("results.json")})


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    "folder",
    [each for each in FOLDERS if str(each.relative_to(RESULTS)).strip(".") not in EARLIER],
    ids=lambda folder: str(folder.relative_to(RESULTS)),
)
def test_tables_are_those_of_the_records(folder: Path, tmp_path: Path) -> None:
    results = read(folder)
    report.write(tmp_path, results["about"], results["records"])
    written = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert written == (folder / "README.md").read_text(encoding="utf-8")
    drawn = {each.name for each in tmp_path.glob("*.svg")}
    assert drawn == {each.name for each in folder.glob("*.svg")}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(RESULTS)))
def test_results_name_only_versions_that_were_measured(folder: Path) -> None:
    versions = read(folder)["about"]["versions"]
    assert all(version[0].isdigit() for version in versions.values())
