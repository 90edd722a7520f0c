"""The sections about runners: beside queues, and the claim itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.queues import QUEUES
from benchmarks.reporting import texts
from benchmarks.reporting.summary import medians
from benchmarks.reporting.tables import milliseconds, ratio, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    Records = Sequence[dict[str, Any]]

BASE = "pgqueuer"
"""The queue that the others are compared with: the fastest of those that are not ours."""


def runners(records: Records) -> str:
    """Throughput and cost."""
    return "\n\n".join(
        (
            texts.RUNNERS.strip(),
            table(
                (
                    "processes", "", "orders/s", "x PgQueuer", "statements", "WAL", "client CPU",
                    "server CPU",
                ),
                [
                    (
                        line["processes"],
                        QUEUES[line["contender"]].title,
                        f"{line['throughput']:,.0f}",
                        ratio(line.get("throughput_ratio")),
                        f"{line['statements']:.2f}",
                        f"{line['wal']:,.0f}",
                        f"{line['client_cpu']:.3f}",
                        f"{line['server_cpu']:.3f}",
                    )
                    for line in ordered(medians(records, ("processes",), base=BASE), "processes")
                ],
            ),
        )
    )  # fmt: skip


def ordered(lines: Records, by: str) -> Records:
    """The contenders' lines of each cell together, as they are listed."""
    cells, names = list(dict.fromkeys(line[by] for line in lines)), list(QUEUES)
    return sorted(lines, key=lambda line: (cells.index(line[by]), names.index(line["contender"])))


def claim_shapes(records: Records) -> str:
    """Claims a second of each shape, by the state of the table."""
    return "\n\n".join(
        (
            texts.CLAIM_SHAPES.strip().format(rows=records[0]["rows"]),
            table(
                ("", "", "claimed/s", "x claim.sql", "p50"),
                [
                    (
                        line["table"],
                        line["contender"],
                        f"{line['throughput']:,.0f}",
                        ratio(line.get("throughput_ratio")),
                        *milliseconds(line, "p50"),
                    )
                    for line in medians(records, ("table",), base="claim.sql")
                ],
            ),
        )
    )


def empty_claims(records: Records) -> str:
    """The share of claims that found all taken."""
    return "\n\n".join(
        (
            texts.EMPTY_CLAIMS.strip(),
            table(
                ("", "claims", "empty", "claimed/s", "x the first"),
                [
                    (
                        line["contender"],
                        f"{line['claims']:.0f}",
                        f"{line['empty']:.0%}",
                        f"{line['throughput']:,.0f}",
                        ratio(line.get("throughput_ratio")),
                    )
                    for line in medians(records, (), base="the first 50")
                ],
            ),
        )
    )
