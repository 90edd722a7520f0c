"""Changes that are made in several stages, so that readers and writers go on meanwhile."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from hephaestus_pg import _sql
from hephaestus_pg.migrations.session import LONGEST_STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus_pg.migrations.files import Stage
    from hephaestus_pg.migrations.session import MigrationSession

_BUILDS = re.compile(r"INDEX CONCURRENTLY IF NOT EXISTS (\w+)")

logger = logging.getLogger("hephaestus_pg")


async def run_stages(session: MigrationSession, stages: Sequence[Stage], *, of: str) -> None:
    """Runs the stages in order; ``of`` is what the log calls the whole.

    Every stage can be repeated, so that after a kill, or a conflict, they begin anew.

    Raises:
        MigrationLockError: Others held a lock for all of the session's ``wait`` seconds.
    """

    async def run() -> None:
        for number, stage in enumerate(stages, 1):
            logger.info("schema %s: %s, stage %d of %d", session.schema, of, number, len(stages))
            await _run_stage(session, stage)

    await session.retrying(run)


async def _run_stage(session: MigrationSession, stage: Stage) -> None:
    match stage.kind:
        case "transaction":
            await session.transaction(lambda: session.execute(stage.text))
        case "chunked":
            await _run_chunks(session, _sql.rendered(stage.text, session.schema))
        case "no_transaction" if not await _is_built(session, stage):
            # It stops no reader and no writer, so it may wait for them.
            async with session.settings(lock_timeout="0"), session.waiting().watched():
                await session.execute(stage.text)


async def _is_built(session: MigrationSession, stage: Stage) -> bool:
    # Citus would mark an index that is there as invalid, and leave it so.
    index = _BUILDS.search(stage.text)
    text = _sql.statement("migrations_index", session.schema)
    return bool(index and await session.connection.fetchval(text, index[1]))


async def _run_chunks(session: MigrationSession, text: str) -> None:
    key: Any = None

    async def run_chunk() -> Any:
        return await session.connection.fetchval(text, key, timeout=LONGEST_STEP)

    while (key := await session.transaction(run_chunk)) is not None:
        pass
