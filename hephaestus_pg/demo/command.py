"""``python -m hephaestus_pg demo``: shows workflows that survive the death of their process.

Orders go through runners, each a process of its own (:mod:`hephaestus_pg.demo.runner`), which are
killed with SIGKILL, or frozen with SIGSTOP past their lease, at random moments; the others go on
from the table.
"""

from __future__ import annotations

import asyncio
import random
import signal
from typing import TYPE_CHECKING
from uuid import uuid4

from hephaestus_pg import AsyncStorage, Names, migrations
from hephaestus_pg.cli import options
from hephaestus_pg.demo import report
from hephaestus_pg.demo.supervisor import Plan, Supervisor
from hephaestus_pg.demo.witness import outside
from hephaestus_pg.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg demo") -> int:
    """Runs the demo: 0 if every promise was kept, 1 if one was not, 2 after an error."""
    parser = options.Parser(
        prog=prog, description="Kill and freeze workflow runners; see that nothing is lost."
    )
    parser.add_argument("--dsn", help="a server to use, in a new schema; default: one of our own")
    for flag, low, default, text in (
        ("--instances", 1, 200, "orders; "),
        ("--runners", 1, 3, "at once; "),
        ("--kills", 0, 3, ""),
        ("--freezes", 0, 2, ""),
        ("--lease", 1, 2, "seconds from a runner's last heartbeat until others take over; "),
    ):
        parser.add_argument(
            flag, type=options.at_least(low), default=default, help=f"{text}default: %(default)s"
        )
    parser.add_argument(
        "--seed",
        type=int,
        default=random.randrange(10_000),  # noqa: S311 - chance, not secrecy
        help="to kill and freeze at the same moments again",
    )
    given = vars(parser.parse_args(argv))
    dsn = given.pop("dsn")
    return options.exit_code(lambda: _demo(dsn, Plan(**given)))


def _demo(dsn: str | None, plan: Plan) -> int:
    try:
        if dsn is not None:
            return asyncio.run(_run(dsn, plan))
        print("starting a PostgreSQL of our own", flush=True)
        with EmbeddedServer() as server:
            return asyncio.run(_run(server.dsn, plan))
    except asyncio.CancelledError:  # by SIGTERM
        raise KeyboardInterrupt from None


async def _run(dsn: str, plan: Plan) -> int:
    schema = f"hephaestus_demo_{uuid4().hex[:8]}"
    await migrations.up(dsn, schema=schema)
    task = asyncio.current_task()
    assert task is not None
    # It leaves no process and no schema behind then, as after Ctrl-C.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with (
        outside(dsn, schema) as pool,
        AsyncStorage.start(pool=pool, name=schema, schema=schema, references=Names()) as storage,
    ):
        try:
            supervisor = Supervisor(dsn, pool, storage, plan)
            await supervisor.run()
            outcome = await supervisor.outcome()
        finally:
            await pool.execute(f"DROP SCHEMA {schema} CASCADE")
    report.show(outcome, title=f"{plan.instances} orders (--seed {plan.seed})")
    return 1 if any(check.against for check in outcome.checks) else 0
