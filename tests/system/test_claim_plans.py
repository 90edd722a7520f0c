"""Claiming reads its indexes only, from their beginning, whatever the table holds beside.

Of a million rows 400,000 have ended, 300,000 belong to a workflow of nobody's here, 100,000 are
owned, 100,000 wait, most of them for news, and 1,000 are poisonous: they have failed too often.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from hephaestus_pg import _sql, migrations
from tests.support.databases import new_database
from tests.system import test_query_plans
from tests.system.test_query_plans import KEY, PLANS, rebuilt_indexes, rows_read, scanned

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 1_000_000
TABLE = "plans.workflow_instances"
RUNNERS = 51
OWNED_BY_EACH = ROWS // 10 // (RUNNERS - 1)
TOKEN = "00000000-0000-0000-0000-000000000001"
OWNER = TOKEN.replace("1", "7")
READY = "workflow_instances_ready_index"
DUE = "workflow_instances_due_index"
OWNED = "workflow_instances_runner_index"
RUNNERS_KEY = "workflow_runners_pkey"
ORDERS = ["Order0", "Order1", "Order2"]

BLOCKS_BY_KEY = 4
"""Blocks that it takes to read a row by its key."""

BLOCKS_A_ROW = 80
"""Blocks that the change of one row touches at the most: of the heap, and of ten indexes."""

# The last digit of a row's number says what it is. One in seven of what cannot be claimed is of a
# workflow that has nothing else.
FILL = f"""
INSERT INTO {TABLE} (id, workflow, status, runner, due_at, attempts, inserted_at, updated_at)
SELECT
    'orderid::' || n,
    CASE
        WHEN n % 10 IN (4, 5, 6) THEN 'Foreign'
        WHEN n % 7 = 0 AND (n % 10 = 9 OR n % 100 IN (8, 38, 48) OR n % 1000 = 7) THEN 'Stuck'
        ELSE 'Order' || n % 3
    END,
    CASE WHEN n % 10 < 4 THEN 'completed' WHEN n % 10 = 8 THEN 'waiting' ELSE 'running' END,
    CASE WHEN n % 10 = 9 THEN lpad((2 + n / 10 % {RUNNERS - 1})::text, 32, '0')::uuid END,
    CASE
        WHEN n % 1000 = 7 THEN 'infinity'
        WHEN n % 100 IN (2, 17, 18) THEN now() + interval '1 hour'
        WHEN n % 100 IN (3, 27, 28) THEN now() - interval '1 hour'
    END,
    CASE WHEN n % 1000 = 7 THEN 5 ELSE 0 END,
    timestamp '2026-01-01' + n * interval '1 second',
    timestamp '2026-01-01'
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO plans.workflow_runners
SELECT lpad(n::text, 32, '0')::uuid, 'r', '{{{",".join(ORDERS)}}}', now(), now() + interval '1 hour'
FROM generate_series(1, {RUNNERS}) AS n
"""


@pytest.fixture(scope="module")
def filled(pytestconfig: pytest.Config) -> Iterator[psycopg.Connection[Any]]:
    with new_database(pytestconfig) as dsn:
        asyncio.run(migrations.up(dsn, schema="plans"))
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
            with rebuilt_indexes(connection, TABLE):
                connection.execute(FILL)
            connection.execute(f"VACUUM ANALYZE {TABLE}, plans.workflow_runners")
            yield connection


def explained(
    connection: psycopg.Connection[Any], name: str, types: str, given: tuple[Any, ...], plan: str
) -> list[dict[str, Any]]:
    """The executed nodes of the statement's plan; its variant stands behind a colon."""
    name, _, variant = name.partition(":")
    statement = _sql.statement(name, "plans", variant)
    return test_query_plans.explained(connection, statement, types, given, plan)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("number", "among"), ((5, 5), (5, 20), (5, 500), (100, 400)))
def test_a_claim_reads_what_it_draws_from(
    filled: psycopg.Connection[Any], plan: str, number: int, among: int
) -> None:
    given = (TOKEN, ORDERS, str(number), str(among), "true")
    executed = explained(filled, "claim:batched", "text, text[], text, text, text", given, plan)

    assert executed[0]["Actual Rows"] == number
    assert scanned(executed) - {"Seq Scan"} <= {READY, DUE, KEY, RUNNERS_KEY}
    assert not of_instances(executed, "Seq Scan")
    # From both indexes of each workflow; what it draws from; what it takes; and the runners.
    oldest = 2 * len(ORDERS) * among
    assert rows_read(executed) <= oldest + among + number + RUNNERS
    assert blocks(executed) < oldest + among * BLOCKS_BY_KEY + number * BLOCKS_A_ROW


@pytest.mark.parametrize("plan", PLANS)
def test_one_by_its_id_reads_that_row(filled: psycopg.Connection[Any], plan: str) -> None:
    executed = explained(filled, "claim_one", "text, text", ("orderid::37", TOKEN), plan)

    assert executed[0]["Actual Rows"] == 1
    assert scanned(executed) - {"Seq Scan"} <= {KEY, RUNNERS_KEY}
    assert not of_instances(executed, "Seq Scan")
    assert rows_read(executed) <= 1 + RUNNERS
    assert blocks(executed) < BLOCKS_A_ROW


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("workflow", ("Nobody", "Stuck"))
def test_where_nothing_can_be_claimed_nothing_is_read(
    filled: psycopg.Connection[Any], plan: str, workflow: str
) -> None:
    given = (TOKEN, [workflow], "100", "400", "true")
    executed = explained(filled, "claim:batched", "text, text[], text, text, text", given, plan)

    assert not of_instances(executed, "Seq Scan")
    assert rows_read(executed) <= RUNNERS
    assert blocks(executed) < 50


@pytest.mark.parametrize("plan", PLANS)
def test_several_by_their_ids_read_those_rows(filled: psycopg.Connection[Any], plan: str) -> None:
    given = ([f"orderid::{n}" for n in (37, 47, 57)], [TOKEN] * 3)
    executed = explained(filled, "claim_one_many:batched", "text[], text[]", given, plan)

    assert executed[0]["Actual Rows"] == 3
    assert scanned(executed) - {"Seq Scan"} <= {KEY, RUNNERS_KEY}
    assert not of_instances(executed, "Seq Scan")
    assert rows_read(executed) <= 3 + 3 + 3 * RUNNERS  # of whom there are few
    assert blocks(executed) < 3 * BLOCKS_A_ROW


@pytest.mark.parametrize("plan", PLANS)
def test_taking_over_reads_what_the_dead_own(filled: psycopg.Connection[Any], plan: str) -> None:
    with filled.transaction(force_rollback=True):
        filled.execute(
            "UPDATE plans.workflow_runners SET expires_at = now() - interval '1 s'"
            f" WHERE token = '{OWNER}'"
        )
        executed = looked(filled, plan)
    filled.execute(f"VACUUM (INDEX_CLEANUP on) {TABLE}")  # what was rolled back

    assert not of_instances(executed, "Seq Scan")
    # It locks them, and then changes them.
    assert rows_read(executed) <= 2 * OWNED_BY_EACH + 2 * RUNNERS + len(ORDERS)
    assert blocks(executed) < OWNED_BY_EACH * BLOCKS_A_ROW


@pytest.mark.parametrize("plan", PLANS)
def test_a_look_without_dead_runners_reads_when_the_next_are_due(
    filled: psycopg.Connection[Any], plan: str
) -> None:
    executed = looked(filled, plan)

    assert not of_instances(executed, "Seq Scan")
    assert rows_read(executed) <= 2 * RUNNERS + len(ORDERS)
    assert blocks(executed) < 100


@pytest.mark.parametrize("plan", PLANS)
def test_a_look_for_orphans_reads_the_index_of_what_is_owned(
    filled: psycopg.Connection[Any], plan: str
) -> None:
    executed = looked(filled, plan, orphans=True)

    assert OWNED in scanned(executed)
    assert not of_instances(executed, "Seq Scan")
    assert rows_read(executed) <= ROWS // 10 + 3 * RUNNERS + len(ORDERS)
    # The index cannot say of what was written just now that it is there: the table is asked too.
    assert blocks(executed) < 2 * ROWS // 10


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    ("name", "types", "more"),
    (
        ("give_back", "text, text", ()),
        ("fail", "text, text, text", ("2,4",)),
        ("release", "text", None),
    ),
)
def test_giving_one_back_reads_that_row(
    filled: psycopg.Connection[Any], plan: str, name: str, types: str, more: tuple[str] | None
) -> None:
    given = ("orderid::59", *(() if more is None else (OWNER, *more)))
    executed = explained(filled, name, types, given, plan)

    assert executed[0]["Actual Rows"] == 1
    assert scanned(executed) == {KEY}
    assert rows_read(executed) == 1
    assert blocks(executed) < BLOCKS_A_ROW


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    ("name", "types"),
    (("free_owned", "text"), ("end_runner", "text"), ("owned", "text, text[]")),
)
def test_what_a_runner_owns_is_read_by_its_index(
    filled: psycopg.Connection[Any], plan: str, name: str, types: str
) -> None:
    given = (OWNER, ["orderid::59"]) if name == "owned" else (OWNER,)
    executed = explained(filled, name, types, given, plan)
    filled.execute(f"VACUUM (INDEX_CLEANUP on) {TABLE}")  # what was rolled back

    assert scanned(executed) - {"Seq Scan"} <= {OWNED, RUNNERS_KEY}
    assert not of_instances(executed, "Seq Scan")
    times = 2 if name == "free_owned" else 1  # once to lock them
    assert rows_read(executed) <= times * OWNED_BY_EACH + RUNNERS
    assert blocks(executed) < OWNED_BY_EACH * BLOCKS_A_ROW


def looked(
    filled: psycopg.Connection[Any], plan: str, *, orphans: bool = False
) -> list[dict[str, Any]]:
    """A look for dead runners, and for what is nobody's too or not."""
    given = ("2,4", str(orphans), ORDERS)
    return explained(filled, "take_over", "text, text, text[]", given, plan)


def of_instances(executed: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [
        node
        for node in executed
        if node["Node Type"] == kind and node.get("Relation Name") == "workflow_instances"
    ]


def blocks(executed: list[dict[str, Any]]) -> int:
    """The blocks that the statement touched, in memory or not."""
    hit: int = executed[0]["Shared Hit Blocks"]
    read: int = executed[0]["Shared Read Blocks"]
    return hit + read
