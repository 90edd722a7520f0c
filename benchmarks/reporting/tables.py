"""Tables in Markdown, and how figures look in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def milliseconds(record: dict[str, Any], *names: str) -> list[str]:
    return [f"{record[name]:.2f}" for name in names]


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of Markdown; columns without a name, which hold texts, stand to the left."""
    body = [[str(cell) for cell in row] for row in rows]
    rule = ["---" if name == "" else "---:" for name in head]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ([*head], rule, *body))
