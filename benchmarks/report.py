"""Tables in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.contenders import CONTENDERS
from benchmarks.summary import medians

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def operations(records: Iterable[dict[str, Any]]) -> str:
    """A table for each operation and size."""
    parts = []
    lines = medians(records, ("size", "operation", "callers"))
    for size, operation in dict.fromkeys((line["size"], line["operation"]) for line in lines):
        chosen = [line for line in lines if (line["size"], line["operation"]) == (size, operation)]
        parts.append(f"### {operation}, states of {size}\n\n{_operation(chosen)}")
    return "\n\n".join(parts)


def _operation(lines: Sequence[dict[str, Any]]) -> str:
    return table(
        (
            "callers", "", "instances/s", "x asyncpg", "p50 ms", "p99 ms", "x asyncpg", "worst ms",
            "client CPU s/1000", "server CPU s/1000", "WAL bytes",
        ),
        [
            (
                line["callers"],
                CONTENDERS[line["contender"]].title,
                f"{line['throughput']:,.0f}",
                _ratio(line.get("throughput_ratio")),
                f"{line['p50']:.2f}",
                f"{line['p99']:.2f}",
                _ratio(line.get("p99_ratio")),
                f"{line['worst']:.1f}",
                f"{line['client_cpu']:.3f}",
                f"{line['server_cpu']:.3f}",
                f"{line['wal']:,.0f}",
            )
            for line in lines
        ],
    )  # fmt: skip


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of Markdown; all but the texts stand to the right."""
    body = [[str(cell) for cell in row] for row in rows]
    rule = ["---" if name == "" else "---:" for name in head]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ([*head], rule, *body))
