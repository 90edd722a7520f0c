"""The verbs that look at the table without reading states."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from hephaestus_pg._checks import plain_text
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError
from hephaestus_pg.inspect import findings
from hephaestus_pg.inspect.findings import InstanceCount, Stats
from hephaestus_pg.values.instance import Instance, require_kind
from hephaestus_pg.verbs import filters as filtering
from hephaestus_pg.verbs import keyset
from hephaestus_pg.verbs.pruning import Verbs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Unpack

    from asyncpg import Record

    from hephaestus_pg.execution.pool_executor import PoolExecutor
    from hephaestus_pg.execution.statements import Statement
    from hephaestus_pg.execution.statistics import ProcessStats
    from hephaestus_pg.inspect.findings import Stuck
    from hephaestus_pg.values.summary import Summary
    from hephaestus_pg.verbs.filters import Filters
    from hephaestus_pg.verbs.keyset import Order

Counted = Literal["status", "workflow", "workflow_version", "runner"]
"""The columns that ``count_by`` counts by."""

PAGE_ROWS = 500
"""Rows of a page of ``summaries``."""

EXACT_UP_TO = 5_000
"""Instances of a status up to which ``stats`` counts them; more are estimated."""

SAMPLED_PAGES = 1_000
"""Pages of the table from which those are estimated: 8 MiB."""

STUCK_AFTER = timedelta(minutes=15)
"""The time without progress after which an instance counts as stuck by default."""

_LONGEST = timedelta(days=1_000_000)  # PostgreSQL's clock ends at 4713 BC


class InspectVerbs(Verbs):
    """Beside the verbs on instances those that look at the table, which only a storage has."""

    _pool_executor: PoolExecutor
    """The executor again, by its own type."""

    async def summaries(
        self,
        *,
        order_by: Order = "id",
        limit: int | None = None,
        after: str | None = None,
        timeout: float | None = None,
        **filters: Unpack[Filters],
    ) -> AsyncIterator[Summary]:
        """The rows that every given filter lets through, in order, without their states.

        A page of 500 is in memory at a time, and no connection is held between two. ``limit`` and
        ``after`` are those of :meth:`query`; :meth:`cursor` takes a summary too. ``timeout`` is for
        each page.

        Raises:
            InvalidValueError: There is no such filter or order, or a value is wrong.
        """
        matching = filtering.matching(filters, self._serializer.references)
        name = keyset.page(keyset.checked_order(order_by))
        rest = keyset.MAX_ROWS if limit is None else keyset.checked_rows(limit, "limit")
        while rest > 0:
            rows = min(rest, PAGE_ROWS)
            page = keyset.parameters(order_by, after, rows)
            with self._executor.operation("summaries", None, timeout) as deadline:
                found = await self._rows(deadline, name, matching, *page, variant="summary")
            last: Summary | None = None
            for row in found:
                last = findings.summary(row)
                yield last
            if last is None or len(found) < rows:
                return
            rest -= rows
            after = self.cursor(last, order_by=order_by)

    async def count_by(
        self, column: Counted, *, timeout: float | None = None, **filters: Unpack[Filters]
    ) -> dict[str, int]:
        """The number of instances that the filters let through, by the text of a column.

        A ``runner`` of ``""`` stands for none. It reads every row that the filters let through, or
        an index of them where the column and the filters are in one.

        Raises:
            InvalidValueError: There is no such column or filter, or a value is wrong.
        """
        if column not in get_args(Counted):
            raise InvalidValueError("column", column, f"give one of {', '.join(get_args(Counted))}")
        matching = filtering.matching(filters, self._serializer.references)
        with self._executor.operation("count_by", None, timeout) as deadline:
            rows = await self._rows(
                deadline, "count_by", matching, variant=f"by_{plain_text(column)}"
            )
        return {row["value"]: int(row["count"]) for row in rows}

    async def stats(self, *, timeout: float | None = None) -> Stats:
        """Figures about the table, and about this storage in this process.

        It takes some tens of milliseconds on a table of millions: what is many is estimated.
        """
        with self._executor.operation("stats", None, timeout) as deadline:
            instances = await self._instance_counts(deadline)
            backlog = await self._executor.fetch(deadline, self._statements.backlog)
            [owned] = await self._executor.fetch(deadline, self._statements.owned_counts)
        since = {row["workflow"]: findings.moment(row["since"]) for row in backlog}
        return Stats(
            instances=tuple(sorted(instances)),
            claimable_since={workflow: moment for workflow, moment in since.items() if moment},
            owned=int(owned["owned"]),
            orphaned=int(owned["orphaned"]),
            exhausted=int(owned["exhausted"]),
            process=self._pool_executor.stats(),
        )

    def process_stats(self) -> ProcessStats:
        """Figures about this storage in this process: its pool, its calls, its batches so far.

        Without a look at the database, which :meth:`stats` takes.
        """
        return self._pool_executor.stats()

    async def ping(self, *, timeout: float | None = None) -> float:
        """Asks the server for an answer, and returns the seconds that it took; for health checks.

        Raises:
            DatabaseError: There was none.
        """
        began = self._pool_executor.lifecycle.loop.time()
        await self._pool_executor.read("ping", lambda each: each.execute("SELECT 1"), timeout)
        return self._pool_executor.lifecycle.loop.time() - began

    async def stuck(
        self,
        *,
        older_than: timedelta = STUCK_AFTER,
        limit: int = 100,
        timeout: float | None = None,
    ) -> list[Stuck]:
        """The instances that have been stuck for longest: nobody runs them, or nobody seems to.

        One that waits for something to be written is not stuck, for as long as that takes. Of what
        nobody claims it looks at those of each workflow that come next, ``limit`` of them.

        Raises:
            InvalidTypeError: ``older_than`` is not a ``timedelta``.
            InvalidValueError: An argument is out of its range.
        """
        if not isinstance(older_than, timedelta):
            raise InvalidTypeError("older_than", older_than, "give a timedelta")
        if not timedelta() <= older_than <= _LONGEST:
            raise InvalidValueError("older_than", older_than, "give 0 to 1,000,000 days")
        rows = str(keyset.checked_rows(limit, "limit"))
        seconds = str(older_than.total_seconds())
        with self._executor.operation("stuck", None, timeout) as deadline:
            found = await self._executor.fetch(deadline, self._statements.stuck, seconds, rows)
        return [findings.stuck(row) for row in found]

    def as_json(self, instance: Instance) -> dict[str, Any]:
        """The instance as plain data that ``json`` can write: its columns, and its ``state``.

        Moments are texts of ISO 8601; what the instance does not know yet is ``None``.

        Raises:
            SerializationError: The state cannot be stored exactly.
        """
        require_kind(instance, Instance, "instance", "give an Instance")
        id, workflow, status, version, state = self._serializer.to_db(instance)
        due_at, runner = instance.due_at, instance.runner
        inserted_at, updated_at = instance.inserted_at, instance.updated_at
        return {
            "id": id,
            "workflow": workflow,
            "workflow_version": version,
            "status": status,
            "revision": instance.revision,
            "runner": None if runner is None else str(runner),
            "due_at": due_at and due_at.isoformat(),
            "inserted_at": inserted_at and inserted_at.isoformat(),
            "updated_at": updated_at and updated_at.isoformat(),
            "state": state,
        }

    async def _instance_counts(self, deadline: float) -> list[InstanceCount]:
        some = await self._counted(deadline, self._statements.counted_some, EXACT_UP_TO + 1)
        totals: dict[str, int] = {}
        for (_, status), instances in some.items():
            totals[status] = totals.get(status, 0) + instances
        many = {status for status, total in totals.items() if total > EXACT_UP_TO}
        exact = [
            InstanceCount(*key, instances, is_exact=True)
            for key, instances in some.items()
            if key[1] not in many
        ]
        if not many:
            return exact
        sample = await self._counted(deadline, self._statements.counted_sample, SAMPLED_PAGES)
        return exact + [
            InstanceCount(*key, instances, is_exact=False)
            for key, instances in sample.items()
            if key[1] in many
        ]

    async def _counted(
        self, deadline: float, statement: Statement, most: int
    ) -> dict[tuple[str, str], int]:
        rows: list[Record] = await self._executor.fetch(deadline, statement, str(most))
        return {(row["workflow"], row["status"]): int(row["instances"]) for row in rows}
