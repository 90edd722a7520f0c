"""The section about a table that grows: a column for each size of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.reporting import texts
from benchmarks.reporting.tables import milliseconds, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Record = dict[str, Any]
    Records = Sequence[Record]
    Line = tuple[str, Callable[[Record], str]]

_PROFILES = {"full": "", "none": ", no index over states"}


def growth(records: Records) -> str:
    """The tables of all parts."""
    return "\n\n".join(
        (
            texts.GROWTH.strip(),
            _calls(records),
            texts.GROWTH_BYTES.strip(),
            _bytes(records),
            texts.GROWTH_WAL.strip(),
            _wal(records),
            texts.GROWTH_CLAIMS.strip(),
            _claims(records),
            texts.GROWTH_UPKEEP.strip(),
            _upkeep(records),
            texts.GROWTH_BUILDS.strip(),
            _builds(records),
        )
    )


def _calls(records: Records) -> str:
    chosen = _of(records, "calls")
    both = {"insert", "update", "put", "delete"}
    names = [
        (name, profile)
        for name in dict.fromkeys(each["operation"] for each in chosen)
        for profile in (_PROFILES if name in both else (chosen[0]["profile"],))
    ]
    lines: list[Line] = [("load of the machine", lambda record: f"{record['load']:.1f}")]
    return _columns(
        chosen,
        lines
        + [
            (
                f"{name}{_PROFILES[profile]}",
                _with(chosen, _p50_and_p99, operation=name, profile=profile),
            )
            for name, profile in names
        ],
    )


def _bytes(records: Records) -> str:
    chosen = _of(records, "bytes")
    indexes = chosen[-1]["indexes"]

    def total(record: Record) -> float:
        return float(record["heap"] + record["toast"] + sum(record["indexes"].values()))

    def a_row(size: Callable[[Record], float]) -> Callable[[Record], str]:
        return lambda record: f"{size(record) / record['rows']:,.1f}"

    def of_index(name: str) -> Callable[[Record], float]:
        return lambda record: float(record["indexes"][name])

    return _columns(
        chosen,
        (
            ("the state itself", lambda record: f"{record['state']:,.1f}"),
            ("heap", a_row(lambda record: float(record["heap"]))),
            ("TOAST", a_row(lambda record: float(record["toast"]))),
            *((f"`{name}`", a_row(of_index(name))) for name in indexes),
            ("all of it", a_row(total)),
            ("all of it, MiB", lambda record: f"{total(record) / 2**20:,.1f}"),
            ("levels of the primary key", lambda record: f"{record['levels']:.0f}"),
        ),
    )


def _wal(records: Records) -> str:
    chosen = _of(records, "wal")

    def shown(record: Record) -> str:
        return f"{record['throughput']:,.0f}: {_wal_and_images(record)}"

    return _columns(chosen, _of_each_profile(chosen, shown, "operation", "{}"))


def _claims(records: Records) -> str:
    chosen = _of(records, "claims")

    def shown(record: Record) -> str:
        return f"{record['throughput']:,.0f}: {_p50_and_p99(record)}"

    return _columns(chosen, _of_each_profile(chosen, shown, "callers", "{} at work"))


def _of_each_profile(
    records: Records, shown: Callable[[Record], str], by: str, name: str
) -> Iterable[Line]:
    """A line for each profile and value of ``by``, whose name has the value in it."""
    for profile, title in _PROFILES.items():
        for value in dict.fromkeys(each[by] for each in records):
            wanted = {by: value, "profile": profile}
            yield f"{name.format(value)}{title}", _with(records, shown, **wanted)


def _upkeep(records: Records) -> str:
    prunes, vacuums = _of(records, "prune"), _of(records, "vacuum")
    lines: list[Line] = []
    for profile, title in _PROFILES.items():
        lines += [
            (f"pruned/s{title}", _with(prunes, _figure("throughput"), profile=profile)),
            ("pruned", _with(prunes, _figure("instances"), profile=profile)),
            ("WAL of each", _with(prunes, _wal_and_images, profile=profile)),
            *_vacuum(f"vacuum{title}", vacuums, profile),
        ]
    lines += _vacuum("freeze", _of(records, "freeze"), "none")
    return _columns(vacuums, lines)


def _vacuum(title: str, records: Records, profile: str) -> Iterable[Line]:
    def pages(record: Record) -> str:
        return " / ".join(f"{record[name]:,.0f}" for name in ("hits", "reads", "dirtied"))

    def mebibytes(record: Record) -> str:
        return f"{record['wal'] / 2**20:,.1f} + {record['images'] / 2**20:,.1f}"

    for name, shown in (
        (f"{title}, seconds", _figure("seconds", 2)),
        ("rows removed", _figure("removed")),
        ("passes over indexes", _figure("scans")),
        ("WAL, MiB", mebibytes),
        ("pages found / read / changed", pages),
        ("pauses of autovacuum, seconds", _figure("paused", 2)),
    ):
        yield name, _with(records, shown, profile=profile)


def _builds(records: Records) -> str:
    fills, dumps, streams = (_of(records, part) for part in ("fill", "dump", "stream"))

    def seconds_of(index: str) -> Callable[[Record], str]:
        return lambda record: f"{record['built'][index]:,.2f}"

    slowest = sorted(fills[-1]["built"].items(), key=lambda each: -each[1])
    return _columns(
        fills,
        (
            *(
                (f"build of `{name}`, seconds", _with(fills, seconds_of(name)))
                for name, _ in slowest[:4]
            ),
            (
                "build of the others, seconds",
                _with(fills, lambda record: _rest(record, slowest[:4])),
            ),
            ("dump, seconds", _with(dumps, _figure("dump", 1))),
            ("dump, MiB", _with(dumps, lambda record: f"{record['bytes'] / 2**20:,.1f}")),
            ("restore, seconds", _with(dumps, _figure("restore", 1))),
            ("streamed/s", _with(streams, _figure("throughput"))),
            ("streamed", _with(streams, _figure("instances"))),
            ("memory at the most, MiB", _with(streams, _figure("memory"))),
            ("memory after the first row, MiB", _with(streams, _figure("memory_grown", 1))),
        ),
    )


def _rest(record: Record, shown: Iterable[tuple[str, float]]) -> str:
    names = {name for name, _ in shown}
    return f"{sum(each for name, each in record['built'].items() if name not in names):,.2f}"


def _of(records: Records, part: str) -> Records:
    return [record for record in records if record["part"] == part]


def _columns(records: Records, lines: Iterable[Line]) -> str:
    """A line for each, with what it shows of the first record of each size."""
    first: dict[int, Record] = {}
    for record in records:
        first.setdefault(record["rows"], record)
    return table(
        ("", *(f"{rows:,}" for rows in first)),
        [(name, *(shown(record) for record in first.values())) for name, shown in lines],
    )


def _with(records: Records, shown: Callable[[Record], str], **wanted: Any) -> Callable[..., str]:
    """Shows the record of the same size that has these values, or nothing if there is none."""

    def show(beside: Record) -> str:
        wanted["rows"] = beside["rows"]
        for record in records:
            if wanted.items() <= record.items():
                return shown(record)
        return ""

    return show


def _figure(name: str, digits: int = 0) -> Callable[[Record], str]:
    return lambda record: f"{record[name]:,.{digits}f}" if name in record else ""


def _p50_and_p99(record: Record) -> str:
    return " / ".join(milliseconds(record, "p50", "p99"))


def _wal_and_images(record: Record) -> str:
    return f"{record['wal']:,.0f} + {record['images']:,.0f}"
