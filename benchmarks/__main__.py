"""``python -m benchmarks``: arguments, and what is run in which order."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import operations, report
from benchmarks.contenders import CONTENDERS, OPERATIONS
from benchmarks.server import Server
from benchmarks.states import SIZES


def _listed(text: str) -> list[str]:
    return text.split(",")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", type=_listed, default=list(OPERATIONS))
    parser.add_argument("--callers", type=_listed, default=["1", "8", "64", "256"])
    parser.add_argument("--sizes", type=_listed, default=list(SIZES))
    parser.add_argument("--contenders", type=_listed, default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--set", type=_listed, default=[], help="server settings: name=value,…")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    cells = [
        (size, operation, int(callers))
        for size in options.sizes
        for operation in options.only
        for callers in options.callers
    ]
    with Server(dict(each.split("=", 1) for each in options.set)) as server:
        about = server.about()
        print(json.dumps(about, indent=1), file=sys.stderr)
        records = []
        for record in operations.rounds(
            server, cells, options.contenders, rounds=options.rounds, seconds=options.seconds
        ):
            records.append(record)
            print(
                *(record[name] for name in ("round", "size", "operation", "callers", "contender")),
                f"{record['throughput']:,.0f}/s p99 {record['p99']:.1f} ms",
                file=sys.stderr,
            )
    print(report.operations(records))


main()
