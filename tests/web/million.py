"""Measures the pages of a million instances: ``python -m tests.web.million``.

In a server of this program's own, with the table's defaults.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import asyncpg
import httpx

from hephaestus_pg import AsyncStorage, Names, migrations, web
from hephaestus_pg.embedded import EmbeddedServer
from tests.web.pictures import FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping

ROUNDS = 11
"""Times that each page is read, the first of which is to warm the server up."""

OWNER = "00000000-0000-0000-0000-000000000003"

# Three and a half days, with a state of 1.1 KiB each. 800,000 have completed, 60,000 run, of which
# 20,000 are owned, and 40,000 wait. One in a thousand is of a rare workflow.
FILL = """
INSERT INTO workflow_instances
    (id, workflow, workflow_version, status, runner, due_at, inserted_at, updated_at, state)
SELECT
    'order::' || n,
    CASE
        WHEN n % 1000 = 5 THEN 'shop.Rare'
        WHEN n % 10 = 3 THEN 'shop.Refund'
        WHEN n % 10 = 4 THEN 'shop.Mail'
        ELSE 'shop.Order'
    END,
    1,
    status,
    CASE WHEN status = 'running' AND n % 3 = 0 THEN lpad((1 + n % 50)::text, 32, '0')::uuid END,
    CASE WHEN status = 'waiting' AND n % 2 = 0 THEN inserted_at + interval '2 hours' END,
    inserted_at,
    inserted_at + interval '5 minutes',
    jsonb_build_object(
        'current_step', 'shop.Pack',
        'active_steps', jsonb_build_array('shop.Pack'),
        'completed_steps', jsonb_build_array('shop.Charge'),
        'context', jsonb_build_object(
            'initial', jsonb_build_object('number', n, 'text', repeat(md5(n::text), 12)),
            'steps', '{}'::jsonb
        ),
        'execution_history', (
            SELECT jsonb_agg(jsonb_build_object(
                'step_ref', 'shop.Charge',
                'event', 'tried',
                'timestamp', inserted_at AT TIME ZONE 'UTC' + seconds * interval '1 s'
            ))
            FROM generate_series(1, 6) AS seconds
        ),
        'step_configs', '{}'::jsonb,
        'runtime_metadata', '{}'::jsonb
    )
FROM generate_series(1, 1000000) AS n,
LATERAL (SELECT
    CASE
        WHEN n % 100 < 80 THEN 'completed'
        WHEN n % 100 < 86 THEN 'failed'
        WHEN n % 100 < 92 THEN 'running'
        WHEN n % 100 < 96 THEN 'waiting'
        ELSE 'pending'
    END AS status,
    now() AT TIME ZONE 'UTC' - (1000000 - n) * interval '0.3 s' AS inserted_at
) AS made;
INSERT INTO workflow_runners
SELECT lpad(n::text, 32, '0')::uuid, 'host-' || n, '{shop.Order}', now(), now() + interval '1 hour'
FROM generate_series(1, 49) AS n
"""

PAGES = {
    "overview": "",
    "newest": "instances",
    "oldest": "instances?order_by=inserted_at",
    "of a status": "instances?status=failed",
    "of several": "instances?status=pending&status=waiting",
    "of a rare workflow": "instances?workflow=shop.Rare",
    "of one that there is not": "instances?workflow=shop.None",
    "of workflows": "instances?workflow_family=shop.R",
    "of a version": "instances?workflow_version=2",
    "of a runner": f"instances?runner={OWNER}",
    "of nobody": "instances?runner=none&status=pending",
    "due": "instances?due_before=2h",
    "inserted in a time": "instances?inserted_after=40h&inserted_before=30h",
    "inserted by a moment": "instances?inserted_before=2020-01-01",
    "written by a moment": "instances?updated_before=2020-01-01",
    "not written for a day": "instances?updated_before=24h",
    "written since": "instances?updated_after=1h",
    "of a workflow and a status": "instances?workflow=shop.Refund&status=failed",
    "an instance": "instance?id=order::77",
}

SCANS = {
    "of a workflow in a status that none is in": "instances?workflow=shop.Mail&status=pending",
    "the oldest written since": "instances?updated_after=1h&order_by=inserted_at",
}
"""Lists that no index serves."""


async def fill(dsn: str) -> None:
    await migrations.up(dsn, schema="public")
    connection = await asyncpg.connect(dsn)
    # Built at the end, they take a fraction of the time.
    indexes = await connection.fetch(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = 'workflow_instances'::regclass AND NOT indisprimary"
    )
    for name, _ in indexes:
        await connection.execute(f"DROP INDEX {name}")
    await connection.execute(FILL)
    for _, made in indexes:
        await connection.execute(made)
    await connection.execute("VACUUM ANALYZE workflow_instances, workflow_runners")
    await connection.close()


async def measure(dsn: str, pages: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """The median and the longest time of each page, in milliseconds, until it is whole."""
    found = {}
    async with (
        AsyncStorage.start(dsn, name="million", references=Names()) as storage,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(web.app(storage)), base_url="http://page"
        ) as client,
    ):
        for name, address in pages.items():
            times = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                answer = await client.get(f"/{address}")
                times.append((time.perf_counter() - began) * 1000)
                assert answer.status_code == 200, answer.text
            found[name] = median(times[1:]), max(times[1:])
    return found


def main(folder: Path) -> None:
    with EmbeddedServer() as server:
        asyncio.run(fill(server.dsn))
        rows = [
            f"| {name} | `/{pages[name]}` | {typical:.1f} | {longest:.1f} |"
            for pages in (PAGES, SCANS)
            for name, (typical, longest) in asyncio.run(measure(server.dsn, pages)).items()
        ]
    text = "\n".join([_HEAD, *rows])
    (folder / "README.md").write_text(f"{text}\n", encoding="utf-8")


_HEAD = """\
# The page, of a million instances

Milliseconds until an answer is whole, by `python -m tests.web.million`, on two cores that the
server shares: a state of 1.1 KiB each, 60,000 running, 49 runners. No index serves the last two
lists: they read every row of the workflow, or of the table. A list is given up after five seconds.

| | address | median | longest of 10 |
|---|---|---:|---:|"""


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
