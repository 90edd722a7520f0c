"""Medians over rounds, and ratios within them."""

from __future__ import annotations

import pytest

pytest.importorskip("benchmarks")
medians = pytest.importorskip("benchmarks.reporting.summary").medians

pytestmark = pytest.mark.quick


def record(contender: str, number: int, throughput: float) -> dict[str, object]:
    return {"contender": contender, "round": number, "throughput": throughput}


def test_a_ratio_is_the_median_of_those_within_a_round() -> None:
    records = [
        record(contender, number, throughput)
        for number, (ours, theirs) in enumerate([(10.0, 5.0), (90.0, 30.0), (20.0, 20.0)])
        for contender, throughput in (("ours", ours), ("asyncpg", theirs))
    ]
    ours, theirs = medians(records, ())
    assert (ours["throughput"], theirs["throughput"]) == (20.0, 20.0)
    assert ours["throughput_ratio"] == 2.0


def test_a_round_in_which_nothing_was_measured_has_no_ratio() -> None:
    records = [
        record(contender, number, throughput)
        for number, (ours, theirs) in enumerate([(10.0, 0.0), (90.0, 30.0)])
        for contender, throughput in (("ours", ours), ("asyncpg", theirs))
    ]
    assert medians(records, ())[0]["throughput_ratio"] == 3.0
    assert "throughput_ratio" not in medians(records[:2], ())[0]
