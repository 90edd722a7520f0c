from __future__ import annotations

import argparse
import asyncio
import random
import sys

from tests.chaos.run import run
from tests.chaos.schedule import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--faults", type=int, metavar="N", help="as many, however long it takes")
    parser.add_argument("--seconds", type=float, metavar="S", help="so long; default: 60")
    parser.add_argument("--long", action="store_true", help="an hour")
    parser.add_argument("--seed", type=int, metavar="N", help="default: another each time")
    parser.add_argument("--only", action="append", choices=KINDS, help="this kind of fault alone")
    parser.add_argument("--callers", type=int, default=200, metavar="N")
    parser.add_argument("--no-batching", dest="batching", action="store_false")
    given = parser.parse_args()
    seconds = given.seconds
    if seconds is None and given.faults is None:
        seconds = 3600.0 if given.long else 60.0
    report = asyncio.run(
        run(
            seed=random.randrange(10**6) if given.seed is None else given.seed,
            faults=given.faults,
            seconds=seconds,
            only=given.only or tuple(KINDS),
            callers=given.callers,
            batching=given.batching,
        )
    )
    print(report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
