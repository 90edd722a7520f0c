"""The section about what takes how many microseconds of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.contenders import CONTENDERS
from benchmarks.ledger import LAYERS, WAITING
from benchmarks.reporting import texts
from benchmarks.reporting.summary import medians
from benchmarks.reporting.tables import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    Records = Sequence[dict[str, Any]]


def profile(records: Records) -> str:
    """A table for each case: a line for each layer, a column for each contender."""
    names = list(dict.fromkeys(record["contender"] for record in sorted(records, key=_is_other)))
    parts = [texts.PROFILE.strip()]
    for case in dict.fromkeys(record["case"] for record in records):
        chosen = [
            _middle([each for each in records if (each["case"], each["contender"]) == (case, name)])
            for name in names
        ]
        rows = [
            (layer, *(f"{each[layer]:.1f}" for each in chosen))
            for layer in LAYERS
            if any(each[layer] >= 0.05 for each in chosen)
        ]
        rows += [
            (
                "**the client's own**",
                *(f"**{each['counted'] - each[WAITING]:.1f}**" for each in chosen),
            ),
            ("**all of it**", *(f"**{each['counted']:.1f}**" for each in chosen)),
            ("the same, not counted", *(f"{each['uncounted']:.1f}" for each in chosen)),
        ]
        head = ("", *(f"{CONTENDERS[name].title}, µs" for name in names))
        parts.append(f"### {case.capitalize()}\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def _middle(records: Records) -> dict[str, Any]:
    """The round with the median of all: its layers add up, as medians of each would not."""
    ordered = sorted(records, key=lambda record: record["counted"])
    [line] = medians(records, ())
    return {**ordered[(len(ordered) - 1) // 2], "uncounted": line["uncounted"]}


def _is_other(record: dict[str, Any]) -> bool:
    return bool(record["contender"] != "ours")
