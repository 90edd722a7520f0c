from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
from typing import Any

from tests.chaos import run as storage
from tests.chaos.runners import run as runners
from tests.chaos.schedule import KINDS, OF_WORKERS
from tests.support.cluster import missing


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--faults", type=int, metavar="N", help="as many, however long it takes")
    parser.add_argument("--seconds", type=float, metavar="S", help="so long; default: 60")
    parser.add_argument("--long", action="store_true", help="an hour")
    parser.add_argument("--seed", type=int, metavar="N", help="default: another each time")
    parser.add_argument("--only", action="append", help="this kind of fault alone")
    alone = parser.add_argument_group("one process, which calls")
    alone.add_argument("--callers", type=int, default=200, metavar="N")
    alone.add_argument("--no-batching", dest="batching", action="store_false")
    alone.add_argument("--citus", choices=("schema", "id"), default="", help="a cluster's")
    many = parser.add_argument_group("processes with runners")
    many.add_argument("--runners", action="store_true", help="they break too")
    many.add_argument("--processes", type=int, default=8, metavar="N")
    many.add_argument("--instances", type=int, default=2000, metavar="N", help="at the least")
    given = parser.parse_args()
    kinds = runners.KINDS if given.runners else tuple(KINDS)
    if given.citus:
        if reason := missing():
            parser.error(f"argument --citus: {reason}")
        kinds += tuple(OF_WORKERS)
    for kind in given.only or ():
        if kind not in kinds:
            parser.error(f"argument --only: choose from {', '.join(map(repr, kinds))}")
    logging.getLogger("hephaestus_pg").setLevel(logging.CRITICAL)  # what breaks here is told
    print(report := asyncio.run(_run(given)))
    return 1 if report.violations else 0


async def _run(given: argparse.Namespace) -> storage.Report | runners.Report:
    seconds = given.seconds
    if seconds is None and given.faults is None:
        seconds = 3600.0 if given.long else 60.0
    schedule: dict[str, Any] = {
        "seed": random.randrange(10**6) if given.seed is None else given.seed,
        "faults": given.faults,
        "seconds": seconds,
    }
    if given.only:
        schedule["only"] = given.only
    if given.runners:
        return await runners.run(processes=given.processes, instances=given.instances, **schedule)
    if given.citus:
        schedule.setdefault("only", (*KINDS, *OF_WORKERS))
    return await storage.run(
        callers=given.callers, batching=given.batching, distributed=given.citus, **schedule
    )


if __name__ == "__main__":
    sys.exit(main())
