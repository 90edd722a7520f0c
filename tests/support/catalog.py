"""A schema as the catalog describes it, for tests that compare two."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from tests.support import citus

if TYPE_CHECKING:
    Link = asyncpg.Connection[Any] | asyncpg.Pool[Any]

WAIT_SECONDS = 60.0
"""Seconds that a test waits for something. The limit of the whole test is longer, but may strike in
a callback and be lost."""

COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull, attcollation,
        pg_get_expr(adbin, adrelid) AS default
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = to_regclass($1 || '.workflow_instances') AND attnum > 0 AND NOT attisdropped
    ORDER BY attname
"""
INDEXES = """
    SELECT replace(pg_get_indexdef(indexrelid), $1 || '.', ''), indisprimary, indisvalid
    FROM pg_index WHERE indrelid = to_regclass($1 || '.workflow_instances') ORDER BY 1
"""
CONSTRAINTS = """
    SELECT conname, contype, convalidated, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE conrelid = to_regclass($1 || '.workflow_instances') ORDER BY 1
"""
OTHERS = """
    SELECT 'table', relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'
    UNION SELECT 'function', proname FROM pg_proc WHERE pronamespace = $1::regnamespace
    UNION SELECT 'trigger', tgname FROM pg_trigger
        WHERE tgrelid = to_regclass($1 || '.workflow_instances')
    UNION SELECT 'comment', obj_description(to_regclass($1 || '.workflow_instances'), 'pg_class')
    ORDER BY 1, 2
"""

BASE = {
    "id": ("uuid", True, None),
    "workflow": ("character varying(255)", True, None),
    "status": ("character varying(255)", True, "'pending'::character varying"),
    "state": ("jsonb", True, "'{}'::jsonb"),
    "inserted_at": ("timestamp(0) without time zone", True, None),
    "updated_at": ("timestamp(0) without time zone", True, None),
}
VERSIONED = BASE | {"workflow_version": ("integer", True, "1")}
WIDE = VERSIONED | {"id": ("character varying(255)", True, None)}

ON = "ON workflow_instances USING"
BASE_INDEXES = {
    f"CREATE UNIQUE INDEX workflow_instances_pkey {ON} btree (id)",
    f"CREATE INDEX workflow_instances_status_index {ON} btree (status)",
    f"CREATE INDEX workflow_instances_workflow_index {ON} btree (workflow)",
    f"CREATE INDEX idx_workflow_instances_state {ON} gin (state jsonb_path_ops)",
}
VERSIONED_INDEX = "workflow_instances_workflow_workflow_version_index"
VERSIONED_INDEXES = BASE_INDEXES | {
    f"CREATE INDEX {VERSIONED_INDEX} {ON} btree (workflow, workflow_version)",
}
FAMILY_INDEX = "workflow_instances_workflow_family_index"
INSERTED_INDEX = "workflow_instances_inserted_at_id_index"
RAISE = "hephaestus_pg_raise_revision"  # the trigger, and its function

REVISED_INDEXES = VERSIONED_INDEXES | {
    f'CREATE INDEX {FAMILY_INDEX} {ON} btree (workflow COLLATE "C")',
    f"CREATE INDEX {INSERTED_INDEX} {ON} btree (inserted_at, id)",
}
RUNNER_INDEXES = REVISED_INDEXES | {
    (
        f"CREATE INDEX workflow_instances_ready_index {ON} btree (workflow, inserted_at) WHERE "
        "((runner IS NULL) AND (due_at IS NULL) AND (((status)::text = 'pending'::text) OR "
        "((status)::text = 'running'::text)))"
    ),
    (
        f"CREATE INDEX workflow_instances_due_index {ON} btree (workflow, due_at) WHERE "
        "((runner IS NULL) AND (due_at IS NOT NULL) AND ((status)::text = ANY "
        "('{pending,running,waiting}'::text[])))"
    ),
    f"CREATE INDEX workflow_instances_due_at_index {ON} btree (due_at) WHERE (due_at IS NOT NULL)",
    f"CREATE INDEX workflow_instances_runner_index {ON} btree (runner) WHERE (runner IS NOT NULL)",
}
MICROSECONDS = (
    "((date_part('epoch'::text, clock_timestamp()) * (1000000)::double precision))::bigint"
)

REVISED = WIDE | {"revision": ("bigint", True, MICROSECONDS)}
OWNED = REVISED | {
    "runner": ("uuid", False, None),
    "due_at": ("timestamp with time zone", False, None),
    "attempts": ("integer", True, "0"),
}

# By version, the columns (type, not null, default) and the indexes that it leaves.
EXPECTED: dict[int, tuple[dict[str, Any], set[str]]] = {
    0: ({}, set()),
    1: (BASE, BASE_INDEXES),
    2: (VERSIONED, VERSIONED_INDEXES),
    3: (WIDE, VERSIONED_INDEXES),
    4: (WIDE | {"revision": ("bigint", True, "1")}, REVISED_INDEXES),
    5: (REVISED, REVISED_INDEXES),
    6: (OWNED, RUNNER_INDEXES),
}


MOMENT = 10**15
"""A new row's revision is above this: it begins at the microseconds since 1970."""


async def snapshot(dsn: str, schema: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that two ways to one version must have in common; not the order of columns."""
    connection = await asyncpg.connect(dsn)
    try:
        return {
            name: [tuple(row) for row in await connection.fetch(query, schema)]
            for name, query in {
                "columns": COLUMNS,
                "indexes": INDEXES,
                "constraints": CONSTRAINTS,
                "others": OTHERS,
            }.items()
        }
    finally:
        await connection.close()


async def assert_is_at(dsn: str, schema: str, version: int) -> None:
    """Compares the table with the one that ``version`` leaves."""
    found = await snapshot(dsn, schema)
    columns, indexes = EXPECTED[version]
    left = {
        name: (type_, not_null, default) for name, type_, not_null, _, default in found["columns"]
    }
    if version == 4 and left["revision"] == EXPECTED[5][0]["revision"]:
        left["revision"] = columns["revision"]  # the way down to it leaves the better default
    assert left == columns
    assert (("trigger", RAISE) in found["others"]) is (version >= 5)
    assert (("table", "workflow_runners") in found["others"]) is (version >= 6)
    assert {definition for definition, *_ in found["indexes"]} == indexes
    assert all(valid for *_, valid in found["indexes"])
    assert [(name, kind) for name, kind, *_ in found["constraints"] if kind != b"n"] == [
        ("workflow_instances_pkey", b"p") for name in columns if name == "id"
    ]


async def until(link: Link, query: str, *arguments: object) -> Any:
    """Waits until ``query`` gives a true value, and returns it."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not (found := await link.fetchval(query, *arguments)):
            await asyncio.sleep(0.001)  # the server needs the processor too
    return found


WAITING = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND strpos(query, $1) > 0
        AND wait_event_type = 'Lock' AND wait_event = $2
"""
if citus.KIND:  # or one of its own on a worker does
    WAITING += """
        UNION ALL
        SELECT (waiting_gpid % 10000000000)::integer FROM citus_lock_waits
        WHERE strpos(blocked_statement, $1) > 0
    """


async def until_waiting(link: Link, statement: str, lock: str) -> int:
    """Waits until a session of this database waits in that statement for that kind of lock.

    Returns its process id. Other databases are left out: tests run the same statements there.
    """
    pid: int = await until(link, WAITING, statement, lock)
    return pid
