"""The move of a schema's tables to the workers of a Citus cluster, and the way back.

By schema all of them go to one worker, by id the instances go to shards on all workers, while the
two small tables stay on the coordinator, where every node can reach them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal, get_args

from hephaestus_pg import _sql
from hephaestus_pg._checks import is_int
from hephaestus_pg.errors import (
    InvalidTypeError,
    InvalidValueError,
    MigrationError,
    RewriteRefusedError,
    SchemaOutdatedError,
)
from hephaestus_pg.migrations.advice import schema_notes
from hephaestus_pg.migrations.citus import add_local_tables, leftover_notes
from hephaestus_pg.migrations.connections import check_connection, connected
from hephaestus_pg.migrations.engine import ONLINE_ABOVE
from hephaestus_pg.migrations.files import shipped
from hephaestus_pg.migrations.obstacles import obstacles, obstacles_back, read_cluster
from hephaestus_pg.migrations.profiles import REWRITE_UP_TO
from hephaestus_pg.migrations.results import Distribution, DistributionPlan, DistributionResult
from hephaestus_pg.migrations.session import migrating
from hephaestus_pg.migrations.state import REVISION_TRIGGER, read_state, row_count, table_size

if TYPE_CHECKING:
    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.session import MigrationSession
    from hephaestus_pg.migrations.state import SchemaState

Way = Literal["schema", "id"]
"""``schema``: all tables of a schema on one worker. ``id``: the instances in shards on all."""

SHARDS_PER_WORKER: Final = 2
"""The default. Each shard that a batch meets costs it time, and each but the first a commit."""

MAX_SHARDS: Final = 64_000
"""The most that Citus takes."""

# The online way holds its last lock for a moment only, and has to begin anew without it.
_ONLINE_LOCK_TIMEOUT = "2s"

# Measured with 50,000 rows of 1.3 KB on two busy cores, in memory, with 16 writers and without.
_ROW_MICROSECONDS = {"schema": 30, "id": 30, "online": 110, None: 60}


async def distribute(  # noqa: PLR0913 - each is a decision of its own, given by name
    dsn: str | None = None,
    *,
    connection: AnyConnection | None = None,
    schema: str = "public",
    by: Way,
    shards: int | None = None,
    online: bool | None = None,
    rewrite: bool = False,
    wait: float = 300.0,
) -> DistributionResult:
    """Moves the tables of a schema to the workers of a Citus cluster.

    It may be started twice and killed anywhere: run again, it goes on, and what is done is left as
    it is. A table on the workers can have no trigger, so ``revision`` is raised by this library's
    writers alone. Storages that are running have to be started again.

    Args:
        dsn: The coordinator; by default ``HEPHAESTUS_PG_DSN``, else the ``PG*`` variables.
        connection: A connection of yours to it instead, outside a transaction.
        schema: The schema, at the latest version.
        by: ``"schema"``: all its tables to one worker, a tenant a schema. ``"id"``: its instances
            to shards on all workers.
        shards: How many, by id: by default two for each worker.
        online: By id, let readers and writers go on while rows are copied; longer on the whole. By
            default only if the table is larger than ``ONLINE_ABOVE``.
        rewrite: Move the tables even if nobody can use them meanwhile and they are larger than
            ``REWRITE_UP_TO``.
        wait: Seconds to wait for a lock, in all its tries, before giving up.

    Raises:
        MigrationError: Something has to be done first, or this is no coordinator.
        SchemaOutdatedError: The schema has to be migrated first.
        RewriteRefusedError: The table is too large to be moved unasked.
        MigrationLockError: Others held a lock for all of ``wait`` seconds.
        DatabaseError: The server refused, or could not be reached.
    """
    _check_arguments(by, shards, online=online)
    began = time.monotonic()
    async with migrating(dsn, connection, schema, wait=wait) as session:
        state = await read_state(session.connection, schema)
        plan = await _plan(session.connection, state, by, shards, online=online)
        _check(plan, rewrite=rewrite)
        assert plan.after is not None
        if plan.before != plan.after:
            if by == "schema":
                await _by_schema(session)
            elif plan.online:
                await _by_id_online(session, state, plan.after.shards)
            else:
                await _by_id(session, plan.after.shards)
        if by == "id":
            await add_local_tables(session)
        return await _result(session, plan, began)


async def plan_distribute(  # noqa: PLR0913 - as distribute
    dsn: str | None = None,
    *,
    connection: AnyConnection | None = None,
    schema: str = "public",
    by: Way,
    shards: int | None = None,
    online: bool | None = None,
) -> DistributionPlan:
    """Returns what :func:`distribute` with these arguments would do, and changes nothing.

    Raises:
        MigrationError: This is no coordinator of a cluster.
        SchemaOutdatedError: The schema has to be migrated first.
        DatabaseError: The server refused, or could not be reached.
    """
    _check_arguments(by, shards, online=online)
    async with connected(dsn, connection, schema) as opened:
        await check_connection(opened, schema)
        state = await read_state(opened, schema)
        return await _plan(opened, state, by, shards, online=online)


async def undistribute(
    dsn: str | None = None,
    *,
    connection: AnyConnection | None = None,
    schema: str = "public",
    rewrite: bool = False,
    wait: float = 300.0,
) -> DistributionResult:
    """Takes the tables of a schema back to the coordinator, and gives them their trigger again.

    All of it is one transaction, in which nobody can read or write them. It also ends what an
    interrupted :func:`distribute` has begun. The arguments and errors are those.
    """
    began = time.monotonic()
    async with migrating(dsn, connection, schema, wait=wait) as session:
        state = await read_state(session.connection, schema)
        plan = await _plan_back(session.connection, state)
        _check(plan, rewrite=rewrite)
        known = await _known(session.connection, state)
        if known or REVISION_TRIGGER in state.missing:
            await _back(session, known)
        return await _result(session, plan, began)


async def plan_undistribute(
    dsn: str | None = None, *, connection: AnyConnection | None = None, schema: str = "public"
) -> DistributionPlan:
    """Returns what :func:`undistribute` would do, and changes nothing."""
    async with connected(dsn, connection, schema) as opened:
        await check_connection(opened, schema)
        return await _plan_back(opened, await read_state(opened, schema))


def _check_arguments(by: Way, shards: int | None, *, online: bool | None) -> None:
    if by not in get_args(Way):
        raise InvalidValueError("by", by, f"give one of {', '.join(get_args(Way))}")
    if by == "schema" and (shards, online) != (None, None):
        name, value = ("shards", shards) if shards is not None else ("online", online)
        raise InvalidValueError(name, value, "leave it out: by schema it has no meaning")
    if shards is None:
        return
    if not is_int(shards):
        raise InvalidTypeError("shards", shards, "give a whole number")
    if not 1 <= shards <= MAX_SHARDS:
        raise InvalidValueError("shards", shards, f"give a number from 1 to {MAX_SHARDS}")


def _check_version(state: SchemaState) -> None:
    if state.version < _sql.latest_version():
        raise SchemaOutdatedError(state.schema, found=state.version, needed=_sql.latest_version())


async def _plan(
    connection: AnyConnection,
    state: SchemaState,
    by: Way,
    shards: int | None,
    *,
    online: bool | None,
) -> DistributionPlan:
    cluster = await read_cluster(connection, state)
    _check_version(state)
    before = state.distribution
    rows, size = await row_count(connection, state), await table_size(connection, state)
    if before is not None and before.by == by and shards in {None, before.shards}:
        return DistributionPlan(state.schema, before, before, rows, size)
    by_default = SHARDS_PER_WORKER * max(cluster.workers, 1)
    wanted = Distribution(by, 1 if by == "schema" else shards or by_default)
    if online is None:
        online = by == "id" and size > ONLINE_ABOVE
    return DistributionPlan(
        state.schema,
        before,
        wanted,
        rows,
        size,
        online=online,
        held="moments" if online else "all of it",
        seconds=_ROW_MICROSECONDS["online" if online else by] * rows / 1e6,
        obstacles=tuple(await obstacles(connection, state, cluster, wanted, online=online)),
    )


async def _plan_back(connection: AnyConnection, state: SchemaState) -> DistributionPlan:
    await read_cluster(connection, state)
    _check_version(state)
    rows, size = await row_count(connection, state), await table_size(connection, state)
    if not await _known(connection, state):
        return DistributionPlan(state.schema, None, None, rows, size)
    return DistributionPlan(
        state.schema,
        state.distribution,
        None,
        rows,
        size,
        held="all of it",
        seconds=_ROW_MICROSECONDS[None] * rows / 1e6,
        obstacles=tuple(await obstacles_back(connection, state)) if state.distribution else (),
    )


def _check(plan: DistributionPlan, *, rewrite: bool) -> None:
    if plan.obstacles:
        why = "; ".join(map(str, plan.obstacles))
        raise MigrationError(
            plan.schema,
            f"schema {plan.schema!r} cannot be {'' if plan.after else 'un'}distributed yet: {why}",
        )
    if plan.held == "all of it" and plan.bytes > REWRITE_UP_TO and not rewrite:
        raise RewriteRefusedError(plan.schema, size=plan.bytes, flag="--rewrite")


async def _by_schema(session: MigrationSession) -> None:
    async def work() -> None:
        await _lock(session)
        # Rows cannot be copied to one shard after the other.
        await session.connection.execute("SET LOCAL citus.multi_shard_modify_mode = 'parallel'")
        await _drop_trigger(session)
        await _run(session, "migrations_distribute_by_schema", session.schema)
        await _run(session, "migrations_drop_local_rows")

    await session.transaction(work)


async def _by_id(session: MigrationSession, shards: int) -> None:
    async def work() -> None:
        await _lock(session)
        # Rows cannot be copied to one shard after the other.
        await session.connection.execute("SET LOCAL citus.multi_shard_modify_mode = 'parallel'")
        await _drop_trigger(session)
        await _run(session, "migrations_distribute_by_id", shards)
        await _run(session, "migrations_drop_local_rows")
        await _run(session, "migrations_add_local")

    await session.transaction(work)


async def _by_id_online(session: MigrationSession, state: SchemaState, shards: int) -> None:
    async def prepare() -> None:
        comment = await _comment(session)
        await _drop_trigger(session)
        if state.distribution is None:
            await _run(session, "migrations_add_instances")
            await session.connection.execute(comment)

    async def move() -> None:
        await _run(session, "migrations_distribute_by_id_online", shards)

    await session.transaction(prepare)
    try:
        async with session.settings(lock_timeout=_ONLINE_LOCK_TIMEOUT):
            await session.retrying(move)
    except Exception:
        await session.transaction(lambda: _make_trigger(session))
        raise


async def _back(session: MigrationSession, known: list[str]) -> None:
    is_tenant = bool(known) and await session.connection.fetchval(
        _sql.statement("migrations_is_tenant", session.schema), session.schema
    )

    async def work() -> None:
        await _lock(session)
        comment = await _comment(session)
        if is_tenant:
            await _run(session, "migrations_undistribute_schema", session.schema)
        else:
            for table in known:
                await _run(session, "migrations_undistribute_table", table)
        await session.connection.execute(comment)
        await _make_trigger(session)

    await session.transaction(work)


async def _lock(session: MigrationSession) -> None:
    await session.execute(_sql.statement("migrations_lock_tables", session.schema))


async def _comment(session: MigrationSession) -> str:
    text = _sql.statement("migrations_comment", session.schema)
    comment: str = await session.connection.fetchval(text)
    return comment


async def _drop_trigger(session: MigrationSession) -> None:
    await session.execute(shipped()[REVISION_TRIGGER - 1].down)


async def _make_trigger(session: MigrationSession) -> None:
    await session.execute(shipped()[REVISION_TRIGGER - 1].up)


async def _run(session: MigrationSession, name: str, *arguments: object) -> None:
    await session.connection.fetch(_sql.statement(name, session.schema), *arguments)


async def _known(connection: AnyConnection, state: SchemaState) -> list[str]:
    text = _sql.statement("migrations_known", state.schema)
    return [row["name"] for row in await connection.fetch(text)]


async def _result(
    session: MigrationSession, plan: DistributionPlan, began: float
) -> DistributionResult:
    after = await read_state(session.connection, session.schema)
    return DistributionResult(
        schema=session.schema,
        before=plan.before,
        after=after.distribution,
        seconds=time.monotonic() - began,
        online=plan.online,
        notes=(*schema_notes(after), *await leftover_notes(session.connection, after)),
    )
