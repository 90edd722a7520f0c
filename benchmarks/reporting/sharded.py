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
    columns = sorted({(each["rows"], each["kind"]) for each in measured}, key=_by_rows)
    found = {(each["rows"], each["kind"], *_line(each)): each for each in measured}
    lines = dict.fromkeys(map(_line, measured))
    about = records[0]
    return "\n\n".join(
        (
            texts.SHARDED.strip().format(**about),
            table(
                ("", "callers", *(f"{rows:,}: {kind}" for rows, kind in columns)),
                [
                    (*line, *(_shown(found.get((*column, *line))) for column in columns))
                    for line in lines
                ],
            ),
        )
    )


def _by_rows(column: tuple[int, str]) -> tuple[int, bool]:
    rows, kind = column
    return rows, kind != "one table"


def _line(record: Record) -> tuple[str, Any]:
    """The name of the record's line, and how many callers it had."""
    names = {
        "bytes": "bytes a row",
        "wal": f"{record.get('operation')}, WAL",
        "prune": "prune, WAL",
        "vacuum": "vacuum, WAL in MiB",
    }
    return names.get(record["part"]) or record["operation"], record.get("callers", "")


def _shown(record: Record | None) -> str:
    if record is None:
        return ""
    match record["part"]:
        case "bytes":
            return f"{record['bytes'] / record['rows']:,.0f}"
        case "vacuum":
            wal, images = record["wal"] / 2**20, record["images"] / 2**20
            return f"{record['seconds']:,.2f} s: {wal:,.1f} + {images:,.1f}"
        case "wal" | "prune":
            rate = f"{record['throughput']:,.0f}/s"
            return f"{rate}: {record['wal']:,.0f} + {record['images']:,.0f}"
    latencies = " / ".join(milliseconds(record, "p50", "p99"))
    return latencies if record["callers"] == 1 else f"{record['throughput']:,.0f}/s: {latencies}"
