"""The report of what fixtures cost a suite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.reporting import texts
from benchmarks.reporting.summary import medians
from benchmarks.reporting.tables import milliseconds, ratio, table
from benchmarks.scenarios.fixtures import BASE

if TYPE_CHECKING:
    from collections.abc import Sequence


def fixtures(records: Sequence[dict[str, Any]]) -> str:
    """Milliseconds of a test, by processes and by what it does."""
    without = [line["without"] for line in medians(records, ())]
    return "\n\n".join(
        (
            texts.FIXTURES.strip().format(tests=records[0]["tests"], without=without[0]),
            table(
                ("processes", "the test does", "", "p50", "times as cheap as truncate", "p99"),
                [
                    (
                        line["processes"],
                        line["body"],
                        line["contender"],
                        *milliseconds(line, "p50"),
                        ratio(line["throughput_ratio"]),
                        *milliseconds(line, "p99"),
                    )
                    for line in medians(records, ("processes", "body"), base=BASE)
                ],
            ),
        )
    )
