"""The section about a table in shards, beside one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.reporting import texts
from benchmarks.reporting.tables import milliseconds, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    Record = dict[str, Any]
    Records = Sequence[Record]


def sharded(records: Records) -> str:
    """A column for each size and kind of table."""
    measured = [record for record in records if "rows" in record]
    found = {
        (each["rows"], each["kind"], each.get("operation"), each.get("callers")): each
        for each in measured
    }
    columns = sorted({(rows, kind) for rows, kind, _, _ in found}, key=_by_rows)
    lines = dict.fromkeys((operation, callers) for _, _, operation, callers in found)
    about = records[0]
    return "\n\n".join(
        (
            texts.SHARDED.strip().format(**about),
            table(
                ("", "callers", *(f"{rows:,}: {kind}" for rows, kind in columns)),
                [
                    (
                        operation or "bytes a row",
                        callers or "",
                        *(_shown(found.get((*column, operation, callers))) for column in columns),
                    )
                    for operation, callers in lines
                ],
            ),
        )
    )


def _by_rows(column: tuple[int, str]) -> tuple[int, bool]:
    rows, kind = column
    return rows, kind != "one table"


def _shown(record: Record | None) -> str:
    if record is None:
        return ""
    if "bytes" in record:
        return f"{record['bytes'] / record['rows']:,.0f}"
    if "refused" in record:
        return "refused"
    latencies = " / ".join(milliseconds(record, "p50", "p99"))
    return latencies if record["callers"] == 1 else f"{record['throughput']:,.0f}/s: {latencies}"
