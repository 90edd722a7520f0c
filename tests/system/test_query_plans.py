"""Each statement reads by its index, whatever kind of plan the server makes for it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest

from hephaestus_pg import (
    Instance,
    Names,
    Serializer,
    _sql,
    migrations,
)
from hephaestus_pg.execution.statements import statements_of
from hephaestus_pg.inspect.looking import InspectVerbs
from hephaestus_pg.verbs import filters
from tests.support.databases import new_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus_pg.execution.statements import Statement

ROWS = 100_000
EPOCH = datetime(2026, 1, 1)  # noqa: DTZ001 - as the columns have it
TABLE = "plans.workflow_instances"
INITIAL = "plans_initial"

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

# Two rows in a thousand have been timers, one of two hundred runners owns one in a thousand, and
# another one in a thousand can be claimed.
OWN = f"""
UPDATE {TABLE} SET due_at = timestamptz '2026-01-01' + substr(id, 10)::integer * interval '1 second'
WHERE substr(id, 10)::integer % 500 = 3;
UPDATE {TABLE} SET runner = lpad((substr(id, 10)::integer / 1000 % 200)::text, 32, '0')::uuid
WHERE substr(id, 10)::integer % 1000 = 4;
UPDATE {TABLE} SET status = 'running' WHERE substr(id, 10)::integer % 1000 = 5
"""

KEY = "workflow_instances_pkey"
STATUS = "workflow_instances_status_index"
WORKFLOW = "workflow_instances_workflow_index"
VERSION = "workflow_instances_workflow_workflow_version_index"
FAMILY = "workflow_instances_workflow_family_index"
INSERTED = "workflow_instances_inserted_at_id_index"
STATE = "idx_workflow_instances_state"
DUE = "workflow_instances_due_at_index"
RUNNER = "workflow_instances_runner_index"
READY = "workflow_instances_ready_index"
TIMED = "workflow_instances_due_index"

# The filters, and the indexes any of which serves them well.
CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({"id": "orderid::77"}, {KEY}),
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
    ({"runner": UUID(int=9)}, {RUNNER}),
    ({"runner": UUID(int=9), "workflow_version": 1}, {RUNNER}),
    ({"runner": None, "status": "waiting"}, {STATUS}),
    ({"due_before": datetime(2026, 1, 1, 1, tzinfo=UTC)}, {DUE}),
    ({"due_before": datetime(2026, 1, 1, 1, tzinfo=UTC), "status": "completed"}, {DUE}),
]

# What lets most rows through, and so must not drive a page.
WIDE: list[dict[str, Any]] = [
    {},
    {"status": "completed"},
    {"status": "failed"},  # one in seven, which is still too many to sort
    {"status_in": ["completed", "failed"]},
    {"status_in": ["waiting", "failed"]},
    {"workflow_family": "app.workflows."},
    {"status": "completed", "workflow_version": 1},
]

# Chosen: by the server, which has had ten executions to learn from.
PLANS = ("custom", "generic", "chosen")

INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index WHERE indrelid = %s::regclass AND NOT indisprimary
"""

LOCALES = {
    "C": " TEMPLATE template0 LOCALE 'C'",
    "ICU": " TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C'",
}


@contextmanager
def rebuilt_indexes(connection: psycopg.Connection[Any], table: str) -> Iterator[None]:
    """Rows without indexes: built at the end, those take a fraction of the time."""
    indexes = connection.execute(INDEXES, (table,)).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    yield
    for _, made in indexes:
        connection.execute(made)


@pytest.fixture(scope="module", params=LOCALES)
def filled(
    pytestconfig: pytest.Config, request: pytest.FixtureRequest
) -> Iterator[psycopg.Connection[Any]]:
    """A connection to 100,000 rows, in a database whose collation sorts by bytes and one by ICU."""
    with ExitStack() as stack:
        try:
            dsn = stack.enter_context(new_database(pytestconfig, LOCALES[request.param]))
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.SyntaxError):
            pytest.skip("this server has no ICU for a database: it is built without, or is 14")
        asyncio.run(migrations.up(dsn, schema="plans"))
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
            with rebuilt_indexes(connection, TABLE):
                connection.execute(FILL)
                connection.execute(OWN)
            connection.execute(f"VACUUM ANALYZE {TABLE}")
            yield connection


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("verb", ("query", "count"))
@pytest.mark.parametrize(("given", "indexes"), CASES, ids=["+".join(given) for given, _ in CASES])
def test_a_filter_is_read_by_its_index(
    filled: psycopg.Connection[Any],
    verb: str,
    given: dict[str, Any],
    indexes: set[str],
    plan: str,
) -> None:
    executed = explained_search(filled, sent(verb, **given), plan)

    assert scanned(executed)
    assert scanned(executed) <= indexes


def test_each_driver_has_a_plan_here() -> None:
    driving = {filters.matching(given, Names()).driver for given, _ in CASES}
    folder = _sql.root() / "queries" / "fragments"
    fragments = (*folder.glob("driver_*.sql"), *folder.glob("contained_*.sql"))

    assert {path.stem.partition("_")[2] for path in fragments} == driving | {"initial"}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("given", WIDE, ids=map(str, WIDE))
@pytest.mark.parametrize("verb", ("query", "summaries"))
@pytest.mark.parametrize("column", ("id", "inserted_at"))
def test_a_page_in_the_middle_costs_what_a_first_one_does(
    filled: psycopg.Connection[Any], given: dict[str, Any], column: str, verb: str, plan: str
) -> None:
    order = column if verb == "query" else f"-{column}"
    page = sent(verb, **given, order_by=order, after=middle(order), limit=20)
    executed = explained_search(filled, page, plan)

    assert scanned(executed) == {KEY if column == "id" else INSERTED}
    assert "Sort" not in {node["Node Type"] for node in executed}
    assert rows_read(executed) < 200


@pytest.mark.parametrize("plan", PLANS)
def test_a_page_by_update_reads_what_its_filter_leaves(
    filled: psycopg.Connection[Any], plan: str
) -> None:
    after = middle("updated_at")
    page = sent("query", status="waiting", order_by="updated_at", after=after, limit=20)
    executed = explained_search(filled, page, plan)

    assert scanned(executed) == {STATUS}
    assert rows_read(executed) == ROWS // 1000


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("column", ("status", "workflow", "runner"))
def test_a_count_by_a_column_reads_what_its_filter_leaves(
    filled: psycopg.Connection[Any], column: str, plan: str
) -> None:
    counts = sent("count_by", column=column, status="waiting")
    executed = explained_search(filled, counts, plan)

    assert scanned(executed) == {STATUS}
    assert rows_read(executed) == ROWS // 1000


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    ("name", "given", "indexes"),
    (
        ("counted_some", ("20",), {STATUS}),
        ("backlog", (), {READY, TIMED}),
        ("owned_counts", (), {RUNNER, DUE}),
        ("stuck", ("900", "20"), {READY, TIMED, RUNNER, DUE, KEY}),
    ),
)
def test_a_look_at_the_whole_table_reads_little_of_it(
    filled: psycopg.Connection[Any],
    name: str,
    given: tuple[str, ...],
    indexes: set[str],
    plan: str,
) -> None:
    statement: Statement = getattr(statements_of("plans"), name)
    executed = explained(filled, statement.text, ", ".join(["text"] * len(given)), given, plan)

    assert scanned(executed) - {"Seq Scan"} <= indexes
    tables = {node["Relation Name"] for node in executed if node["Node Type"] == "Seq Scan"}
    assert tables <= {"workflow_runners"}
    assert rows_read(executed) < ROWS // 100


@pytest.fixture(scope="module")
def busy(filled: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """``filled``, with a schema in which one of ten is active, none of them a timer.

    One workflow has nothing left to do.
    """
    to = filled.info
    dsn = f"postgresql://{to.user}:{to.password}@{to.host}:{to.port}/{to.dbname}"
    asyncio.run(migrations.up(dsn, schema="busy"))
    with rebuilt_indexes(filled, "busy.workflow_instances"):
        filled.execute(
            "INSERT INTO busy.workflow_instances "
            "(id, workflow, status, state, inserted_at, updated_at) "
            "SELECT copy || id, 'W' || length(id), "
            "CASE WHEN right(id, 1) = '0' THEN 'running' ELSE 'completed' END, "
            f"'{{}}'::jsonb, inserted_at, updated_at FROM {TABLE}, generate_series(1, 4) AS copy "
            "UNION ALL SELECT 'over::' || n, 'W12.Over', 'completed', '{}'::jsonb, now(), now() "
            "FROM generate_series(1, 5000) AS n"
        )
    filled.execute("VACUUM ANALYZE busy.workflow_instances")
    return filled


@pytest.mark.parametrize("plan", PLANS)
def test_what_is_stuck_is_found_without_reading_all_that_is_active(
    busy: psycopg.Connection[Any], plan: str
) -> None:
    statement = statements_of("busy").stuck.text

    executed = explained(busy, statement, "text, text", ("900", "20"), plan)

    assert rows_read(executed) < 400


@pytest.mark.parametrize("plan", PLANS)
def test_a_batch_of_prune_reads_what_it_deletes(filled: psycopg.Connection[Any], plan: str) -> None:
    first = EPOCH.replace(tzinfo=UTC).timestamp()
    for begun, old, size, most in (
        (f"{first + 55} orderid::55", 90_000, 20, 200),
        # All that is old, which is less than a batch.
        ("", 500, 10_000, 2_000),
    ):
        moment = EPOCH + timedelta(seconds=old)
        executed = explained(
            filled,
            _sql.statement("prune", "plans"),
            "text, timestamp, bigint, text",
            (begun, moment, size, None),
            plan,
        )

        assert scanned(executed) == {INSERTED, KEY}
        assert rows_read(executed) < most


@pytest.fixture(scope="module")
def searched(filled: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """``filled``, with the same rows in a schema whose index is over initial contexts."""
    to = filled.info
    dsn = f"postgresql://{to.user}:{to.password}@{to.host}:{to.port}/{to.dbname}"
    asyncio.run(migrations.up(dsn, schema=INITIAL))
    columns = "id, workflow, status, workflow_version, state, inserted_at, updated_at"
    asyncio.run(migrations.index(dsn, schema=INITIAL, profile="none"))
    table = f"{INITIAL}.workflow_instances"
    with rebuilt_indexes(filled, table):
        filled.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {TABLE}")
    filled.execute(f"VACUUM ANALYZE {table}")
    asyncio.run(migrations.index(dsn, schema=INITIAL, profile="initial", rewrite=True))
    return filled


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("verb", ("query", "count"))
@pytest.mark.parametrize(
    "given",
    (
        {"contains": {"context": {"initial": {"n": 77}}}},
        {"contains": {"context": {"initial": {"n": 77}}, "current_step": None}},
        {"contains": {"context": {"initial": {"n": 77}}}, "status": "completed"},
    ),
)
def test_a_search_in_initial_contexts_is_read_by_their_index(
    searched: psycopg.Connection[Any], verb: str, given: dict[str, Any], plan: str
) -> None:
    search = sent(verb, schema=INITIAL, profile="initial", **given)
    executed = explained_search(searched, search, plan)

    assert scanned(executed) == {"hephaestus_pg_initial_index"}
    assert rows_read(executed) == 1


@pytest.mark.parametrize("plan", PLANS)
def test_many_ids_are_read_by_the_key(filled: psycopg.Connection[Any], plan: str) -> None:
    wanted = [f"orderid::{number}" for number in range(1, 51)]

    executed = explained(filled, _sql.statement("get_many", "plans"), "text[]", (wanted,), plan)

    assert scanned(executed) == {KEY}
    assert rows_read(executed) == 50


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("verb", ("update_many", "delete_many"))
def test_rows_to_change_are_read_by_the_key_and_compared_with_nothing_but_their_own(
    filled: psycopg.Connection[Any], verb: str, plan: str
) -> None:
    ids, ones = [f"orderid::{number}" for number in range(1, 51)], ["1"] * 50
    types, given = {
        "update_many": (
            ", ".join(["text[]"] * 7),
            (ids, ["W"] * 50, ["failed"] * 50, ones, [None] * 50, ones, ["{}"] * 50),
        ),
        "delete_many": ("text[], text[]", (ids, [None] * 50)),
    }[verb]

    executed = explained(filled, _sql.statement(verb, "plans"), types, given, plan)

    assert scanned(executed) == {KEY}
    assert rows_read(executed) == 50 + 50  # to lock them, and to change them
    assert not [node for node in executed if node.get("Rows Removed by Join Filter")]


def middle(order: Any) -> str:
    """The place in the middle of the rows, in that order."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=50_000)
    instance = Instance("orderid::55", "W", inserted_at=moment, updated_at=moment)
    return InspectVerbs.cursor(instance, order_by=order)


class Noted:
    """In place of an executor: notes what a verb that searches would run."""

    retries = False

    def __init__(self, schema: str, profile: str) -> None:
        self.schema = schema
        self.statements = statements_of(schema)
        self._profile = profile

    def operation(self, *_: Any) -> nullcontext[float]:
        return nullcontext(0.0)

    async def fetch(self, _: float, statement: Statement, *arguments: Any) -> list[Any]:
        if statement.name == "index_profile":
            return [{"profile": self._profile}]
        self.sent = statement.text, arguments
        return [{"count": "0"}] if statement.name == "count" else []


def sent(
    verb: str, *, schema: str = "plans", profile: str = "full", **given: Any
) -> tuple[str, tuple[Any, ...]]:
    """The statement that ``verb`` runs, where the schema has that index over states."""
    noted: Any = Noted(schema, profile)

    async def run() -> None:
        running = getattr(InspectVerbs(noted, Serializer(Names())), verb)(**given)
        if verb == "summaries":
            assert [each async for each in running] == []
        else:
            await running

    asyncio.run(run())
    text, arguments = noted.sent
    return text, arguments


def explained_search(
    connection: psycopg.Connection[Any], search: tuple[str, tuple[Any, ...]], plan: str
) -> list[dict[str, Any]]:
    """The executed nodes of a search's plan; its third parameter is the only array."""
    text, given = search
    types = ", ".join("text[]" if place == 3 else "text" for place in range(1, len(given) + 1))
    return explained(connection, text, types, given, plan)


def explained(
    connection: psycopg.Connection[Any],
    statement: str,
    types: str,
    parameters: tuple[Any, ...],
    plan: str,
) -> list[dict[str, Any]]:
    """The nodes of the statement's plan that were executed; what it changed is rolled back."""
    literals = ", ".join(map(literal, parameters))
    call = f"explained ({literals})" if types else "explained"
    mode = "auto" if plan == "chosen" else f"force_{plan}_plan"
    signature = f"({types})" if types else ""
    connection.execute(f"PREPARE explained {signature} AS {statement}")
    # Workers, which a busy server may not have to give, each count their own part of the rows.
    connection.execute(f"SET plan_cache_mode = {mode}; SET max_parallel_workers_per_gather = 0")
    try:
        with connection.transaction(force_rollback=True):
            for _ in range(10 if plan == "chosen" else 0):
                connection.execute(f"EXPLAIN EXECUTE {call}")
            executed = connection.execute(
                f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) EXECUTE {call}"
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


def scanned(executed: list[dict[str, Any]]) -> set[str]:
    """The indexes that were read, and "Seq Scan" if there was one."""
    return {
        node.get("Index Name", node["Node Type"])
        for node in executed
        if "Index Name" in node or node["Node Type"] == "Seq Scan"
    }


def rows_read(executed: list[dict[str, Any]]) -> int:
    """The rows that came from an index or a table, whether a filter let them through or not."""
    return sum(
        round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in executed
        if node["Node Type"] in {"Index Scan", "Index Only Scan", "Seq Scan", "Bitmap Heap Scan"}
    )


def literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case list():
            return f"ARRAY[{', '.join(map(literal, value))}]::text[]"
        case int():
            return str(value)
    return "'" + str(value).replace("'", "''") + "'"
