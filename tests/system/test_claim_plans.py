"""Claiming reads its indexes only, from their beginning, whatever the table holds beside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from hephaestus_pg import migrations
from tests.conftest import new_database
from tests.system.test_query_plans import KEY, PLANS, explained, rows_read, scanned

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 100_000
TABLE = "plans.workflow_instances"
TOKEN = "00000000-0000-0000-0000-000000000001"
READY = "workflow_instances_ready_index"
DUE = "workflow_instances_due_index"
OWNED = "workflow_instances_runner_index"
RUNNERS = "workflow_runners_pkey"

# Of a hundred rows fifty have ended, thirty belong to a workflow of nobody's, and each of these has
# some: owned, waiting for news, timers to come, poisonous, timers that are due, and ready.
FILL = f"""
INSERT INTO {TABLE}
    (id, workflow, status, runner, due_at, attempts, inserted_at, updated_at)
SELECT
    'orderid::' || n,
    CASE WHEN n % 10 IN (5, 6, 7) THEN 'Foreign' ELSE 'Order' || n % 3 END,
    CASE WHEN n % 10 < 5 THEN 'completed' WHEN n % 100 IN (18, 28, 38, 48) THEN 'waiting'
        ELSE 'running' END,
    CASE WHEN n % 10 = 9 THEN lpad((2 + n / 10 % 50)::text, 32, '0')::uuid END,
    CASE WHEN n % 100 IN (2, 28) THEN now() + interval '1 hour' WHEN n % 100 = 38 THEN 'infinity'
        WHEN n % 100 IN (3, 48) THEN now() - interval '1 hour' END,
    CASE WHEN n % 100 = 38 THEN 5 ELSE 0 END,
    timestamp '2026-01-01' + n * interval '1 second',
    timestamp '2026-01-01'
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO plans.workflow_runners
SELECT lpad(n::text, 32, '0')::uuid, 'r', '{{Order}}', now(), now() + interval '1 hour'
FROM generate_series(1, 51) AS n
"""


@pytest.fixture(scope="module")
def filled(pytestconfig: pytest.Config) -> Iterator[psycopg.Connection[Any]]:
    with new_database(pytestconfig) as dsn:
        asyncio.run(migrations.up(dsn, schema="plans"))
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
            connection.execute(FILL)
            connection.execute(f"VACUUM ANALYZE {TABLE}, plans.workflow_runners")
            yield connection


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("among", (5, 20))
def test_a_claim_reads_what_it_draws_from(
    filled: psycopg.Connection[Any], plan: str, among: int
) -> None:
    executed = explained(
        filled,
        "claim:batched",
        "text, text[], text, text",
        (TOKEN, ["Order0", "Order1", "Order2"], "5", str(among)),
        plan,
    )

    assert scanned(executed) - {"Seq Scan"} <= {READY, DUE, KEY, RUNNERS}
    assert not of_instances(executed, "Seq Scan")
    assert rows_read(executed) < 2 * 3 * among + 5 + 51 + 1


@pytest.mark.parametrize("plan", PLANS)
def test_where_nothing_can_be_claimed_nothing_is_read(
    filled: psycopg.Connection[Any], plan: str
) -> None:
    given = (TOKEN, ["Nobody"], "100", "400")
    executed = explained(filled, "claim:batched", "text, text[], text, text", given, plan)

    assert not of_instances(executed, "Seq Scan")
    assert rows_read(executed) <= 51


@pytest.mark.parametrize("plan", PLANS)
def test_taking_over_reads_what_the_dead_own(filled: psycopg.Connection[Any], plan: str) -> None:
    with filled.transaction(force_rollback=True):
        filled.execute(
            "UPDATE plans.workflow_runners SET expires_at = now() - interval '1 s'"
            " WHERE token = lpad('7', 32, '0')::uuid"
        )
        given = ("{2,4}", "false", ["Order0", "Order1"])
        executed = explained(filled, "take_over", "text, text, text[]", given, plan)

    assert not of_instances(executed, "Seq Scan")
    assert rows_read(executed) <= ROWS // 10 // 50 + 2 * 51 + 2


@pytest.mark.parametrize("plan", PLANS)
def test_giving_all_back_reads_what_the_runner_owns(
    filled: psycopg.Connection[Any], plan: str
) -> None:
    token = TOKEN.replace("1", "7")
    executed = explained(filled, "end_runner", "text", (token,), plan)

    assert not of_instances(executed, "Seq Scan")
    assert rows_read(executed) <= ROWS // 10 // 50 + 51


def of_instances(executed: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [
        node
        for node in executed
        if node["Node Type"] == kind and node.get("Relation Name") == "workflow_instances"
    ]
