"""The move of a schema's tables to the workers of a Citus cluster, and the way back.

By schema all of them go to one worker, by id the instances go to shards on all workers, while the
two small tables stay on the coordinator, where every node can reach them. What is run for that
stands in ``sql/distribution/``.
"""

from __future__ import annotations

import time
from dataclasses import replace
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
from hephaestus_pg.migrations.files import shipped, stages_in
from hephaestus_pg.migrations.obstacles import obstacles, obstacles_back, read_cluster
from hephaestus_pg.migrations.planning import ONLINE_ABOVE, planned_move
from hephaestus_pg.migrations.profiles import REWRITE_UP_TO
from hephaestus_pg.migrations.results import Distribution, DistributionResult
from hephaestus_pg.migrations.session import migrating
from hephaestus_pg.migrations.stages import run_stages
from hephaestus_pg.migrations.state import REVISION_TRIGGER, read_state, row_count, table_size
from hephaestus_pg.migrations.steps import apply
from hephaestus_pg.values.arguments import checked_flag

if TYPE_CHECKING:
    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.migrations.results import DistributionPlan
    from hephaestus_pg.migrations.session import MigrationSession
    from hephaestus_pg.migrations.state import SchemaState

DistributedBy = Literal["schema", "id"]
"""``schema``: all tables of a schema on one worker. ``id``: the instances in shards on all."""

SHARDS_PER_WORKER: Final = 2
"""The default. Each shard that a batch meets costs it time, and each but the first a commit."""

MAX_SHARDS: Final = 64_000
"""The most that Citus takes."""


async def distribute(  # noqa: PLR0913 - each is a decision of its own, given by name
    dsn: str | None = None,
    *,
    connection: AnyConnection | None = None,
    schema: str = "public",
    by: DistributedBy,
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
        InvalidValueError: An argument is wrong, or the connection is in a transaction.
        MigrationError: Something has to be done first, or this is no coordinator.
        SchemaOutdatedError: The schema has to be migrated first.
        RewriteRefusedError: The table is too large to be moved unasked.
        MigrationLockError: Others held a lock for all of ``wait`` seconds.
        DatabaseError: The server refused, or could not be reached.
    """
    _check_arguments(by, shards, online=online)
    checked_flag("rewrite", rewrite)
    began = time.monotonic()
    async with migrating(dsn, connection, schema, wait=wait) as session:
        state = await session.read_state()
        plan = await session.retrying(
            lambda: _plan(session.connection, state, by, shards, online=online)
        )
        check_move(plan, rewrite=rewrite)
        if plan.before != plan.after:
            await _move(session, plan)
        if by == "id":
            await add_local_tables(session)
        return await _result(session, plan, began)


async def plan_distribute(  # noqa: PLR0913 - as distribute
    dsn: str | None = None,
    *,
    connection: AnyConnection | None = None,
    schema: str = "public",
    by: DistributedBy,
    shards: int | None = None,
    online: bool | None = None,
) -> DistributionPlan:
    """Returns what :func:`distribute` with these arguments would do, and changes nothing.

    Raises:
        InvalidValueError: As for :func:`distribute`.
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
    checked_flag("rewrite", rewrite)
    began = time.monotonic()
    async with migrating(dsn, connection, schema, wait=wait) as session:
        state = await session.read_state()
        plan = await session.retrying(lambda: _plan_back(session.connection, state))
        check_move(plan, rewrite=rewrite)
        if plan.before is not None:
            await run_stages(session, stages_in("distribution", "back"), of="undistribute")
        await _repair_trigger(session)
        return await _result(session, plan, began)


async def plan_undistribute(
    dsn: str | None = None, *, connection: AnyConnection | None = None, schema: str = "public"
) -> DistributionPlan:
    """Returns what :func:`undistribute` would do, and changes nothing.

    Raises:
        InvalidValueError: As for :func:`distribute`.
        MigrationError: This is no coordinator of a cluster.
        SchemaOutdatedError: The schema has to be migrated first.
        DatabaseError: The server refused, or could not be reached.
    """
    async with connected(dsn, connection, schema) as opened:
        await check_connection(opened, schema)
        return await _plan_back(opened, await read_state(opened, schema))


def _check_arguments(by: DistributedBy, shards: int | None, *, online: bool | None) -> None:
    if by not in get_args(DistributedBy):
        raise InvalidValueError("by", by, f"give one of {', '.join(get_args(DistributedBy))}")
    if by == "schema" and (shards, online) != (None, None):
        name, value = ("shards", shards) if shards is not None else ("online", online)
        raise InvalidValueError(name, value, "leave it out: by schema it has no meaning")
    if online is not None:
        checked_flag("online", online)
    if shards is None:
        return
    if not is_int(shards):
        raise InvalidTypeError("shards", shards, "give a whole number")
    if not 1 <= shards <= MAX_SHARDS:
        raise InvalidValueError("shards", shards, f"give a number from 1 to {MAX_SHARDS}")


def check_move(plan: DistributionPlan, *, rewrite: bool) -> None:
    """Refuses a move that something is in the way of, or that would stop others for too long.

    Raises:
        MigrationError: There are obstacles.
        RewriteRefusedError: The table is larger than ``REWRITE_UP_TO``.
    """
    if plan.obstacles:
        move = "distributed" if plan.after else "undistributed"
        why = "; ".join(map(str, plan.obstacles))
        raise MigrationError(plan.schema, f"schema {plan.schema!r} cannot be {move} yet: {why}")
    if plan.held == "all of it" and plan.bytes > REWRITE_UP_TO and not rewrite:
        raise RewriteRefusedError(plan.schema, size=plan.bytes, flag="--rewrite")


async def _plan(
    connection: AnyConnection,
    state: SchemaState,
    by: DistributedBy,
    shards: int | None,
    *,
    online: bool | None,
) -> DistributionPlan:
    cluster = await read_cluster(connection, state)
    before = state.distribution
    if before is not None and before.by == by and shards in {None, before.shards}:
        return await _plan_move(connection, state, before)
    by_default = SHARDS_PER_WORKER * max(cluster.workers, 1)
    wanted = Distribution(by, 1 if by == "schema" else shards or by_default)
    plan = await _plan_move(connection, state, wanted, online=online)
    found = await obstacles(connection, state, cluster, wanted, online=plan.online)
    return replace(plan, obstacles=tuple(found))


async def _plan_back(connection: AnyConnection, state: SchemaState) -> DistributionPlan:
    await read_cluster(connection, state)
    plan = await _plan_move(connection, state, None)
    return replace(plan, obstacles=tuple(await obstacles_back(connection, state)))


async def _plan_move(
    connection: AnyConnection,
    state: SchemaState,
    wanted: Distribution | None,
    *,
    online: bool | None = None,
) -> DistributionPlan:
    if state.version < _sql.latest_version():
        raise SchemaOutdatedError(state.schema, found=state.version, needed=_sql.latest_version())
    size = await table_size(connection, state)
    if online is None:
        online = size > ONLINE_ABOVE
    return planned_move(
        state.schema,
        state.distribution,
        wanted,
        rows=await row_count(connection, state),
        size=size,
        online=online,
    )


async def _move(session: MigrationSession, plan: DistributionPlan) -> None:
    assert plan.after is not None
    stages = stages_in("distribution", f"by_{plan.after.by}{'_online' * plan.online}")
    async with session.settings(**{"hephaestus_pg.shards": str(plan.after.shards)}):
        try:
            await run_stages(session, stages, of=f"distribute by {plan.after.by}")
        except Exception:
            await _repair_trigger(session)
            raise


async def _repair_trigger(session: MigrationSession) -> None:
    if REVISION_TRIGGER in (await session.read_state()).missing:
        await apply(session, shipped()[REVISION_TRIGGER - 1], online=False)


async def _result(
    session: MigrationSession, plan: DistributionPlan, began: float
) -> DistributionResult:
    after = await session.read_state()
    return DistributionResult(
        schema=session.schema,
        before=plan.before,
        after=after.distribution,
        seconds=time.monotonic() - began,
        online=plan.online,
        notes=(*schema_notes(after), *await leftover_notes(session.connection, after)),
    )
