"""Reduces the records of the rounds to one line for each contender of a cell."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BASE = "asyncpg"
"""The contender that the others are compared with."""


def medians(
    records: Iterable[dict[str, Any]], by: Sequence[str], *, base: str = BASE
) -> list[dict[str, Any]]:
    """One record for each value of ``by`` and contender: the median over the rounds of each figure.

    ``throughput_ratio``, ``p99_ratio`` and ``client_cpu_ratio`` compare with ``base`` in the same
    cell of the same round, so that a machine that was slow for a while does not count: the median
    of the ratios, not the ratio of the medians.
    """
    records = list(records)
    bases = {_key(each, (*by, "round")): each for each in records if each["contender"] == base}
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for each in records:
        compared = dict(each)
        beside = bases.get(_key(each, (*by, "round")))
        if beside:
            for figure in ("throughput", "p99", "client_cpu"):
                if figure in each and beside[figure]:  # a short run may take no CPU that counts
                    compared[f"{figure}_ratio"] = each[figure] / beside[figure]
        groups[_key(each, (*by, "contender"))].append(compared)
    return [_median(group) for group in groups.values()]


def _median(group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over the rounds that have it; of what is no figure the first."""
    found = {name: value for each in reversed(group) for name, value in each.items()}
    return {
        name: median(each[name] for each in group if name in each)
        if isinstance(value, float)
        else value
        for name, value in found.items()
        if name != "round"
    }


def _key(record: dict[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(record[name] for name in names)
