"""Each filter is served by its index, whatever kind of plan the server makes for a statement."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from hephaestus_pg import Names, _sql, filters, migrations
from tests.conftest import new_database

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 100_000
TABLE = "plans.workflow_instances"

# One row in a thousand waits, one workflow in two hundred is any row's, version 9 is rare.
FILL = f"""
INSERT INTO {TABLE} (id, workflow, status, workflow_version, state, inserted_at, updated_at)
SELECT 'orderid::' || n,
       'app.workflows.W' || n % 200,
       CASE WHEN n % 1000 = 0 THEN 'waiting' WHEN n % 7 = 0 THEN 'failed' ELSE 'completed' END,
       CASE WHEN n % 999 = 0 THEN 9 ELSE 1 + n % 3 END,
       jsonb_build_object('context', jsonb_build_object('initial', jsonb_build_object(
           'n', n, 'text', repeat(md5(n::text), 10)))),
       timestamp '2026-01-01' + n * interval '1 second',
       timestamp '2026-01-01' + n * interval '1 second'
FROM generate_series(1, {ROWS}) AS n
"""

STATUS = "workflow_instances_status_index"
WORKFLOW = "workflow_instances_workflow_index"
VERSION = "workflow_instances_workflow_workflow_version_index"
FAMILY = "workflow_instances_workflow_family_index"
STATE = "idx_workflow_instances_state"

# The filters, and the indexes any of which serves them well.
CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({"id": "orderid::77"}, {"workflow_instances_pkey"}),
    ({"status": "waiting"}, {STATUS}),
    ({"status_in": ["waiting", "pending"]}, {STATUS}),
    ({"workflow": "app.workflows.W7"}, {WORKFLOW, VERSION, FAMILY}),
    ({"workflow_version": 9}, {VERSION}),
    ({"workflow_family": "app.workflows.W17"}, {FAMILY}),
    ({"contains": {"context": {"initial": {"n": 77}}}}, {STATE}),
    ({"workflow": "app.workflows.W7", "workflow_version": 9}, {WORKFLOW, VERSION}),
    ({"status": "waiting", "workflow": "app.workflows.W0"}, {STATUS, WORKFLOW, VERSION}),
    ({"status": "waiting", "workflow_family": "app.workflows.W0"}, {STATUS, FAMILY}),
    ({"contains": {"context": {"initial": {"n": 77}}}, "status": "completed"}, {STATE}),
]


LOCALES = {
    "C": " TEMPLATE template0 LOCALE 'C'",
    "ICU": " TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C'",
}


@pytest.fixture(scope="module", params=LOCALES)
def filled(
    pytestconfig: pytest.Config, request: pytest.FixtureRequest
) -> Iterator[psycopg.Connection[Any]]:
    """A connection to 100,000 rows, in a database whose collation sorts by bytes and one by ICU."""
    with ExitStack() as stack:
        try:
            dsn = stack.enter_context(new_database(pytestconfig, LOCALES[request.param]))
        except psycopg.errors.FeatureNotSupported:
            pytest.skip("this server is built without ICU")
        asyncio.run(migrations.up(dsn, schema="plans"))
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(FILL)
            connection.execute(f"VACUUM ANALYZE {TABLE}")
            yield connection


@pytest.mark.parametrize("plan", ("custom", "generic"))
@pytest.mark.parametrize(("given", "indexes"), CASES, ids=["+".join(given) for given, _ in CASES])
def test_a_filter_is_read_by_its_index(
    filled: psycopg.Connection[Any], given: dict[str, Any], indexes: set[str], plan: str
) -> None:
    parameters = filters.parameters(given, Names())
    statement = _sql.statement("query", "plans")

    executed = explained(filled, statement, parameters, plan)

    scans = [node for node in executed if node["Node Type"].endswith("Scan")]
    used = {node["Index Name"] for node in scans if "Index Name" in node}
    assert used
    assert used <= indexes
    assert "Seq Scan" not in {node["Node Type"] for node in scans}


def explained(
    connection: psycopg.Connection[Any], statement: str, parameters: tuple[Any, ...], plan: str
) -> list[dict[str, Any]]:
    """The nodes of the statement's plan that were executed."""
    types = "text, text[], text, integer, text, text, text" + ", timestamp" * 4
    literals = ", ".join(map(literal, parameters))

    connection.execute(f"PREPARE explained ({types}) AS {statement}")
    connection.execute(f"SET plan_cache_mode = force_{plan}_plan")
    try:
        executed = connection.execute(
            f"EXPLAIN (ANALYZE, TIMING off, FORMAT json) EXECUTE explained ({literals})"
        )
        [[described]] = executed.fetchall()
    finally:
        connection.execute("DEALLOCATE explained")
    return list(nodes(described[0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Any:
    if plan["Actual Loops"]:
        yield plan
        for inner in plan.get("Plans", ()):
            yield from nodes(inner)


def literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case list():
            return f"ARRAY[{', '.join(map(literal, value))}]::text[]"
        case int():
            return str(value)
    return "'" + str(value).replace("'", "''") + "'"
