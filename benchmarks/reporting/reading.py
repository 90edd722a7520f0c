"""The sections about the client's own time: reading many, large states, its garbage collector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.contenders import CONTENDERS
from benchmarks.reporting import texts
from benchmarks.reporting.summary import medians
from benchmarks.reporting.tables import milliseconds, ratio, table
from benchmarks.scenarios.garbage import USUAL
from benchmarks.scenarios.reading import CASES

if TYPE_CHECKING:
    from collections.abc import Sequence

    Records = Sequence[dict[str, Any]]


def reading(records: Records) -> str:
    """A table for each size of states."""
    parts = [texts.READING.strip().format(rows=records[0]["rows"])]
    lines = medians(records, ("size", "case", "operation"))
    for size in dict.fromkeys(line["size"] for line in lines):
        rows = [
            (
                _title(line),
                CONTENDERS[line["contender"]].title,
                f"{line['throughput']:,.0f}",
                ratio(line.get("throughput_ratio")),
                *milliseconds(line, "p50", "p99"),
                ratio(line.get("p99_ratio")),
                f"{line['client_cpu']:.3f}",
            )
            for line in lines
            if line["size"] == size
        ]
        head = ("", "", "instances/s", "x asyncpg", "p50", "p99", "x asyncpg", "client CPU")
        parts.append(f"### Reading states of {size}\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def _title(line: dict[str, Any]) -> str:
    case: str = line["case"]
    return case if len(CASES[case]) == 1 else f"{case}: {line['operation']}"


def large_states(records: Records) -> str:
    """Milliseconds of a call, and of the loop's longest pause."""
    by = ("content", "size", "operation")
    return "\n\n".join(
        (
            texts.LARGE_STATES.strip(),
            table(
                ("", "", "", "", "p50", "x asyncpg", "client CPU", "longest pause"),
                [
                    (
                        line["content"],
                        line["size"],
                        line["operation"],
                        "hephaestus_pg" if line["contender"] == "ours" else "asyncpg with orjson",
                        *milliseconds(line, "p50"),
                        ratio(line.get("throughput_ratio")),
                        *milliseconds(line, "client_cpu", "pause"),
                    )
                    for line in medians(records, by, base="asyncpg-noreset")
                ],
            ),
        )
    )


def garbage(records: Records) -> str:
    """The settings of the collector, by operation and client."""
    return "\n\n".join(
        (
            texts.GARBAGE.strip(),
            table(
                ("", "", "", "instances/s", "x default", "p99", "client CPU", "x default"),
                [
                    (
                        line["operation"],
                        CONTENDERS[line["client"]].title,
                        line["contender"],
                        f"{line['throughput']:,.0f}",
                        ratio(line.get("throughput_ratio")),
                        *milliseconds(line, "p99"),
                        f"{line['client_cpu']:.3f}",
                        ratio(line.get("client_cpu_ratio")),
                    )
                    for line in medians(records, ("operation", "client"), base=USUAL)
                ],
            ),
        )
    )
