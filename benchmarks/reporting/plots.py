"""Plots in SVG, each with its axes named and its size fit for a README."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks import tenancy
from benchmarks.contenders import CONTENDERS
from benchmarks.reporting.summary import medians

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    Records = Sequence[dict[str, Any]]
    Lines = Mapping[str, Iterable[tuple[float, float]]]

# Text stays text, and the same figures give the same file.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "hephaestus_pg", "font.size": 9})


def operations(folder: Path, records: Records) -> list[str]:
    """Throughput and p99 against the callers, for the smallest states."""
    size = records[0]["size"]
    lines = [
        line for line in medians(records, ("size", "operation", "callers")) if line["size"] == size
    ]
    drawn = []
    for operation in [each for each in ("put", "get") if any(_is(line, each) for line in lines)]:
        chosen = [line for line in lines if _is(line, operation)]
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        axes = figure.subplots(1, 2)
        for axis, figures, label in zip(
            axes, ("throughput", "p99"), ("instances a second", "p99, ms"), strict=True
        ):
            _draw(axis, _by_contender(chosen, figures), "callers", label)
        handles, titles = axes[0].get_legend_handles_labels()
        figure.legend(handles, titles, loc="outside lower center", ncols=3, frameon=False)
        figure.suptitle(f"{operation}, states of {size}")
        drawn.append(_saved(figure, folder, operation))
    return drawn


def _is(line: dict[str, Any], operation: str) -> bool:
    return bool(line["operation"] == operation)


def _by_contender(lines: Records, figure: str) -> Lines:
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in lines:
        points[CONTENDERS[line["contender"]].title].append((line["callers"], line[figure]))
    return points


DRAWN = (
    "get", "insert", "update", "put", "delete", "the newest", "page in the middle",
    "status, few", "status, most", "workflow", "contains", "count", "stats", "stuck",
    "updated_after and updated_before",
)  # fmt: skip
"""The calls whose growth is drawn: all would be too many to be told apart."""


def growth(folder: Path, records: Records) -> list[str]:
    """p50 and p99 of calls against the rows."""
    calls = [record for record in records if record["part"] == "calls"]
    if not calls:
        return []
    timed = [
        record
        for record in calls
        if record["profile"] == calls[0]["profile"] and record["operation"] in DRAWN
    ]
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, name in zip(axes, ("p50", "p99"), strict=True):
        points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for record in timed:
            points[record["operation"]].append((record["rows"], record[name]))
        _draw(axis, points, "rows in the table", f"{name}, ms")
    handles, titles = axes[0].get_legend_handles_labels()
    figure.legend(handles, titles, loc="outside lower center", ncols=4, frameon=False)
    return [_saved(figure, folder, "growth")]


def history(folder: Path, records: Records) -> list[str]:
    """The cost of a put by the number of entries."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, name, label in zip(
        axes, ("p50", "wal"), ("p50, ms", "WAL, bytes a put"), strict=True
    ):
        points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for record in records:
            # Zero has no place on this axis.
            points[record["way"]].append((max(1, record["entries"]), record[name]))
        _draw(axis, points, "entries in the history", label)
    axes[0].legend(frameon=False)
    return [_saved(figure, folder, "history")]


def tenants(folder: Path, records: Records) -> list[str]:
    """Throughput against the tenants."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, operation in zip(axes, ("put", "get"), strict=True):
        points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for line in medians(records, ("tenants", "operation")):
            if _is(line, operation):
                title = tenancy.CONTENDERS[line["contender"]][0]
                points[title].append((line["tenants"], line["throughput"]))
        _draw(axis, points, "tenants", f"{operation}s a second")
    handles, titles = axes[0].get_legend_handles_labels()
    figure.legend(handles, titles, loc="outside lower center", ncols=3, frameon=False)
    return [_saved(figure, folder, "tenants")]


PLOTS: dict[str, Callable[[Path, Records], list[str]]] = {
    "operations": operations,
    "growth": growth,
    "history": history,
    "tenants": tenants,
}


def _draw(axis: Axes, lines: Lines, x: str, y: str) -> None:
    for number, (name, points) in enumerate(lines.items()):
        style = ("-", "--", ":")[number // 10 % 3]
        axis.plot(*zip(*points, strict=True), style, marker="o", markersize=3, label=name)
    axis.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
        )
    axis.grid(visible=True, which="major", alpha=0.3)


def _saved(figure: Figure, folder: Path, name: str) -> str:
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return name
