"""Rows in the blink of an eye: made by the server, the indexes built when they are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from benchmarks.states import text

if TYPE_CHECKING:
    from hephaestus_pg import Instance

TEMPLATE = 987_654_321
"""The number of the order that the rows are copies of."""

# One row in fifty finished long ago, for prune. Each has moments of its own, as orders do.
_FILL = """
INSERT INTO workflow_instances (
    id, workflow, status, workflow_version, state, inserted_at, updated_at
)
SELECT
    'order::' || lpad(to_hex(n), 8, '0'),
    'Shop.Orders.Fulfil' || lpad((n / 50)::text, 8, '0'),
    CASE WHEN n % 50 = 0 THEN 'completed' WHEN n % 4 = 1 THEN 'waiting' ELSE 'running' END,
    n % 3 + 1,
    replace(
        replace($3, $4, n::text),
        $5,
        to_char(timestamp '2025-03-01 09:30' + n * interval '1 minute', 'YYYY-MM-DD"T"HH24:MI')
    )::jsonb,
    timestamp '2025-01-01' + n * interval '1 second',
    CASE WHEN n % 50 = 0 THEN timestamp '2020-01-01'
        ELSE timestamp '2025-01-01' + n * interval '1 second' END
FROM generate_series($1::integer, $2::integer - 1) AS n
"""


async def fill(dsn: str, start: int, end: int, template: Instance) -> None:
    """Rows of the numbers from ``start`` to ``end``, like the ``template`` of that number."""
    connection = await asyncpg.connect(dsn)
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes "
        "WHERE tablename = 'workflow_instances' AND indexname <> 'workflow_instances_pkey'"
    )
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['indexname']}")
    history = template.execution_history
    # Without a history there is no moment to exchange.
    minute = history[0].timestamp.isoformat()[:16] if history else "none"
    await connection.execute(_FILL, start, end, text(template).decode(), str(TEMPLATE), minute)
    for index in indexes:
        await connection.execute(index["indexdef"])
    await connection.execute("VACUUM (ANALYZE) workflow_instances")
    await connection.execute("CHECKPOINT")
    await connection.close()
