"""Rows in the blink of an eye: made by the server, the indexes built when they are there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from benchmarks.states import text

if TYPE_CHECKING:
    from hephaestus_pg import Instance

TEMPLATE = 987_654_321
"""The number of the order that the rows are copies of."""


class Rows(NamedTuple):
    """The columns of the row ``n``, in SQL; ``$1`` and ``$2`` are the bounds of the numbers."""

    id: str
    workflow: str
    status: str
    updated_at: str


INSERTED_AT = "timestamp '2025-01-01' + n * interval '1 second'"
"""The moment at which the row ``n`` was inserted, in SQL: one a second."""

USUAL = Rows(
    id="'order::' || lpad(to_hex(n), 8, '0')",
    workflow="'Shop.Orders.Fulfil' || lpad((n / 50)::text, 8, '0')",
    status=(
        "CASE WHEN n % 50 = 0 THEN 'completed' WHEN n % 4 = 1 THEN 'waiting' ELSE 'running' END"
    ),
    updated_at=INSERTED_AT,
)
"""Rows of which nearly all are active, fifty of a workflow."""

# Each has moments of its own, as orders do.
_FILL = """
INSERT INTO workflow_instances (
    id, workflow, status, workflow_version, state, inserted_at, updated_at
)
SELECT
    {rows.id},
    {rows.workflow},
    {rows.status},
    n % 3 + 1,
    replace(
        replace($3, $4, n::text),
        $5,
        to_char(timestamp '2025-03-01 09:30' + n * interval '1 minute', 'YYYY-MM-DD"T"HH24:MI')
    )::jsonb,
    {inserted_at},
    {rows.updated_at}
FROM generate_series($1::integer, $2::integer - 1) AS n
"""


async def fill(
    dsn: str, start: int, end: int, template: Instance, *, rows: Rows = USUAL
) -> dict[str, float]:
    """Rows of the numbers from ``start`` to ``end``, like the ``template`` of that number.

    The seconds that building each index took come back.
    """
    connection = await asyncpg.connect(dsn)
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() "
        "AND tablename = 'workflow_instances' AND indexname <> 'workflow_instances_pkey'"
    )
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['indexname']}")
    history = template.execution_history
    # Without a history there is no moment to exchange.
    minute = history[0].timestamp.isoformat()[:16] if history else "none"
    insert = _FILL.format(rows=rows, inserted_at=INSERTED_AT)
    await connection.execute(insert, start, end, text(template).decode(), str(TEMPLATE), minute)
    built = {}
    for index in indexes:
        began = time.perf_counter()
        await connection.execute(index["indexdef"])
        built[index["indexname"]] = time.perf_counter() - began
    await connection.execute("VACUUM (ANALYZE) workflow_instances")
    await connection.execute("CHECKPOINT")
    await connection.close()
    return built
