"""The numbers of instances inserted and written in each of the last hours, and bars of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hephaestus_pg.values.instance import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime


_DRAWN = ("inserted", *Status)
"""The names of the counts, from the bottom of a bar up."""


class Count(NamedTuple):
    """A number of instances, estimated where it is not exact."""

    instances: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Hour:
    """The numbers of instances inserted, and last written, in the hour from ``start``."""

    start: datetime
    inserted: Count
    written: Mapping[str, Mapping[str, Count]]
    """By workflow and status; zeros are left out."""

    def by_status(self) -> dict[str, Count]:
        """The number that were last written, by status, of all workflows."""
        return _total(self.written.values())


class Bar(NamedTuple):
    """The instances of an hour in a status, as a rectangle in a chart of 10 by 40 an hour."""

    name: str
    left: int
    top: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Hours side by side, each with its statuses on top of each other."""

    bars: Sequence[Bar]
    total: Mapping[str, Count]
    most: int
    """Instances of the highest hour."""


def chart(hours: Sequence[Mapping[str, Count]]) -> Chart:
    """Draws hours, each of them given by status, or as what was ``inserted``."""
    most = max(sum(count.instances for count in hour.values()) for hour in hours)
    bars = []
    for place, hour in enumerate(hours):
        top = 40.0
        for name in _DRAWN:
            if name in hour:
                height = 40 * hour[name].instances / max(1, most)
                top -= height
                bars.append(Bar(name, 10 * place + 1, round(top, 2), round(height, 2)))
    return Chart(bars, _total(hours), most)


def _total(hours: Collection[Mapping[str, Count]]) -> dict[str, Count]:
    found = {name: [hour[name] for hour in hours if name in hour] for name in _DRAWN}
    return {
        name: Count(sum(each.instances for each in some), all(each.is_exact for each in some))
        for name, some in found.items()
        if some
    }
