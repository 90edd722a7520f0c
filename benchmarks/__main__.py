"""``python -m benchmarks``: parses the arguments, runs the scenarios, writes the results."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import CONTENDERS, OPERATIONS
from benchmarks.queues import QUEUES
from benchmarks.records import as_they_come
from benchmarks.reporting import report
from benchmarks.scenarios import (
    citus,
    claim_shapes,
    empty_claims,
    fixtures,
    garbage,
    growth,
    history,
    large_states,
    notifications,
    operations,
    profile,
    profiles,
    reading,
    runners,
    sharded,
    tenants,
    wake_ups,
)
from benchmarks.server import Server
from benchmarks.states import SIZES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCENARIOS = (
    *OPERATIONS,
    "reading",
    "large_states",
    "profile",
    "garbage",
    "growth",
    "sharded",
    "history",
    "tenants",
    "profiles",
    "runners",
    "wake_ups",
    "notifications",
    "claim_shapes",
    "empty_claims",
    "fixtures",
    "citus",
)
RESULTS = Path(__file__).parent / "results"

_USUAL_CALLERS = 64


@dataclass(frozen=True)
class Scale:
    """The amount of work in each scenario."""

    callers: tuple[int, ...] = (1, 8, 64, 256)
    sizes: tuple[str, ...] = SIZES
    rounds: int = 5
    seconds: float = 0.5
    read: tuple[str, ...] = reading.SIZES
    """States of the tables that pages are read of, with so many rows."""
    read_rows: int = reading.ROWS
    large: tuple[str, ...] = tuple(large_states.SIZES)
    profiled: tuple[str, ...] = tuple(profile.CASES)
    rows: tuple[int, ...] = growth.ROWS
    profiles: tuple[growth.Profile, ...] = growth.PROFILES
    entries: tuple[int, ...] = history.ENTRIES
    tenants: tuple[int, ...] = tenants.TENANTS
    puts: int = 100_000
    queues: tuple[str, ...] = tuple(QUEUES)
    processes: tuple[int, ...] = (1, 4)
    orders: float = 1.0
    """The part of the orders that runners and queues have otherwise, and of large states."""
    claimable: int = 100_000
    pairs: int = 10
    """Runs with a listener and without, in each round."""
    tests: int = 100
    """Tests of each kind in a suite."""


QUICK = Scale(
    callers=(8,),
    sizes=("1kb",),
    rounds=1,
    seconds=0.1,
    read=("1kb",),
    read_rows=5_000,
    large=("1mb",),
    profiled=("a put of 64",),
    queues=tuple(name for name in QUEUES if name != "dbos"),  # dbos-polling is DBOS too
    rows=(500, 2_000),
    entries=(0, 100, 1_000),
    tenants=(1, 10),
    puts=2_000,
    processes=(2,),
    orders=0.1,
    claimable=10_000,
    pairs=1,
    tests=5,
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure hephaestus_pg beside what else one could use, on a server of its own.",
    )
    listed, numbers = _Listed(str), _Listed(int)
    parser.add_argument("--only", type=listed, default=SCENARIOS, help=",".join(SCENARIOS))
    parser.add_argument("--contenders", type=listed, default=tuple(CONTENDERS), help="by name")
    parser.add_argument("--queues", type=listed, help="beside runners")
    parser.add_argument("--callers", type=numbers, help="how many at once: 1,64")
    parser.add_argument("--sizes", type=listed, help=f"of states: {','.join(SIZES)}")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of load, in each cell and round")
    parser.add_argument(
        "--quick", action="store_true", help="does it work? It says nothing about speed"
    )
    parser.add_argument("--large", action="store_true", help="ten million rows, a million puts")
    parser.add_argument("--rows", type=numbers, help="of growth and sharded: 10000,100000")
    parser.add_argument("--profiles", type=listed, help=f"of growth: {','.join(growth.PROFILES)}")
    parser.add_argument("--citus", metavar="DSN", help="of a coordinator, for sharded")
    parser.add_argument("--set", type=listed, default=(), help="server settings: name=value,…")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder for the results")
    options = parser.parse_args()
    for given, known in (
        (options.only, SCENARIOS),
        (options.contenders, CONTENDERS),
        (options.queues or (), QUEUES),
        (options.sizes or (), SIZES),
        (options.profiles or (), growth.PROFILES),
    ):
        for name in given:
            if name not in known:
                parser.error(f"{name}: choose from {', '.join(known)}")
    if options.only == ("sharded",) and not options.citus:
        parser.error("sharded: give --citus, the DSN of a cluster's coordinator")
    return options


class _Listed:
    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __call__(self, text: str) -> tuple[Any, ...]:
        return tuple(map(self._kind, text.split(",")))


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else Scale()
    given = {
        name: value
        for name in ("callers", "sizes", "rounds", "seconds", "queues", "rows", "profiles")
        if (value := getattr(options, name)) is not None
    }
    if options.large:
        given |= {"rows": (*scale.rows, growth.LARGE), "puts": 1_000_000}
    return replace(scale, **given)


def _cells(options: argparse.Namespace, scale: Scale) -> list[operations.Cell]:
    """All callers for the smallest states, and for the others too if callers were asked for."""
    return [
        (size, operation, callers)
        for size in scale.sizes
        for operation in OPERATIONS
        if operation in options.only
        for callers in scale.callers
        if size == scale.sizes[0] or callers == _USUAL_CALLERS or options.callers
    ]


def _records(
    server: Server, options: argparse.Namespace, scale: Scale
) -> Iterator[tuple[str, dict[str, Any]]]:
    seconds = scale.seconds
    if cells := _cells(options, scale):
        for record in operations.operations(
            server, cells, options.contenders, rounds=scale.rounds, seconds=seconds
        ):
            yield "operations", record
    scenarios: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "reading": lambda: reading.reading(
            server,
            options.contenders,
            scale.read,
            rows=scale.read_rows,
            rounds=scale.rounds,
            seconds=seconds,
        ),
        "large_states": lambda: large_states.large_states(
            server, scale.large, rounds=scale.rounds, part=scale.orders
        ),
        "profile": lambda: profile.profile(
            server, scale.profiled, rounds=scale.rounds, seconds=2 * seconds
        ),
        "garbage": lambda: garbage.garbage(server, rounds=scale.rounds, seconds=seconds),
        "growth": lambda: growth.growth(server, scale.rows, scale.profiles, seconds=seconds),
        "sharded": lambda: as_they_come(
            sharded.sharded(options.citus, scale.rows, seconds=seconds)
        ),
        "history": lambda: history.history(server, scale.entries, seconds=seconds),
        "tenants": lambda: tenants.tenants(
            server, scale.tenants, rounds=scale.rounds, seconds=2 * seconds
        ),
        "profiles": lambda: profiles.profiles(
            server, rounds=scale.rounds, seconds=5 * seconds, puts=scale.puts
        ),
        "runners": lambda: runners.runners(
            server,
            scale.queues,
            processes=scale.processes,
            rounds=scale.rounds,
            seconds=3 * seconds,
            part=scale.orders,
        ),
        "wake_ups": lambda: wake_ups.wake_ups(
            server, scale.queues, rounds=scale.rounds, part=scale.orders
        ),
        "notifications": lambda: notifications.notifications(
            server, rounds=scale.rounds, seconds=seconds, pairs=scale.pairs
        ),
        "claim_shapes": lambda: claim_shapes.claim_shapes(
            server, rows=scale.claimable, rounds=scale.rounds
        ),
        "empty_claims": lambda: empty_claims.empty_claims(server, rounds=scale.rounds),
        "fixtures": lambda: fixtures.fixtures(
            tests=scale.tests,
            processes=(2,) if options.quick else (1, 2),
            rounds=scale.rounds,
        ),
        "citus": lambda: citus.citus(rounds=scale.rounds, seconds=2 * seconds),
    }
    for name, scenario in scenarios.items():
        if name in options.only and (name != "sharded" or options.citus):
            for record in scenario():
                yield name, record


def main() -> None:
    """Runs the chosen scenarios and writes the results."""
    options = _arguments()
    scale = _scale(options)
    # A commit that is on the disk is for those who look at the time.
    settings = {"fsync": "off"} if options.quick else {}
    settings |= dict(each.split("=", 1) for each in options.set)
    records: list[dict[str, Any]] = []
    with Server(settings) as server:
        about = {**server.about(), "scale": asdict(scale)}
        try:
            for scenario, record in _records(server, options, scale):
                records.append({"scenario": scenario, **record})
                print(scenario, *filter(None, map(_shown, record.items())), flush=True)
        finally:
            if records:  # what was measured before it was interrupted, too
                _write(options.output, about, records)


def _write(folder: Path, about: dict[str, Any], records: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # A record a line, for whoever compares two runs.
    lines = ",\n".join(map(json.dumps, records))
    results = f'{{"about": {json.dumps(about, indent=1)},\n"records": [\n{lines}\n]}}\n'
    (folder / "results.json").write_text(results, encoding="utf-8")
    report.write(folder, about, records)
    print(f"\nThe tables are in {folder / 'README.md'}")


def _shown(figure: tuple[str, Any]) -> str:
    name, value = figure
    if not isinstance(value, float):
        return str(value)
    return f"{name}={value:,.4g}" if name in {"throughput", "p50", "p99"} else ""


if __name__ == "__main__":
    main()
