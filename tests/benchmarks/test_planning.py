"""What many instances take, from records of growths."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("benchmarks")
planning = pytest.importorskip("benchmarks.planning")

pytestmark = pytest.mark.quick

GROWTH = Path(planning.__file__).parent / "results" / "growth"


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, list[str]]:
    """The cells of each line of the printed plan, by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["planning", *arguments])
        planning.main()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    return {row[0]: row[1:] for row in rows}


def files(*names: str) -> list[str]:
    return [str(GROWTH / name / "results.json") for name in names]


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """A file with the results of a growth without the index over states, each record changed."""
    results = json.loads(Path(*files("none")).read_text(encoding="utf-8"))
    for record in results["records"]:
        change(record)
    path = folder / "results.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    return str(path)


def test_the_published_plan_is_what_its_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    without, with_index = (
        lines(capsys, *files("none")),
        lines(capsys, *files(""), "--profile", "full"),
    )
    published = (GROWTH.parent / "plan" / "README.md").read_text(encoding="utf-8")
    for name, shown in (("heap", "heap"), ("dump", "dump"), ("freeze", "freeze of all rows")):
        assert f"| {shown} | {without[name][0]} | {with_index[name][0]} |" in published


def test_of_what_two_results_have_measured_the_first_counts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def slower(record: dict[str, Any]) -> None:
        if record["part"] == "dump":
            record["dump"] *= 3

    first, again = *files("none"), changed(tmp_path, slower)
    alone = lines(capsys, first)
    assert lines(capsys, first, again) == alone
    assert lines(capsys, again, first)["dump"] != alone["dump"]


def test_a_table_too_large_to_be_restored_has_a_plan_without_that(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = changed(tmp_path, lambda record: record.pop("restore", None))
    plan = lines(capsys, path)
    assert "dump" in plan
    assert "restore" not in plan


def test_results_of_the_other_profile_are_refused_with_what_to_measure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="there is no bytes in these .* --profiles none"):
        lines(capsys, *files(""))
