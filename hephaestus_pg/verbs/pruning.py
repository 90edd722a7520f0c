"""``prune``, and with it every verb."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hephaestus_pg.values.arguments import checked_flag, checked_progress
from hephaestus_pg.values.instance import Status
from hephaestus_pg.values.references import named
from hephaestus_pg.verbs import filters as filtering
from hephaestus_pg.verbs import keyset
from hephaestus_pg.verbs.bulk import CHUNK_ROWS
from hephaestus_pg.verbs.search import SearchVerbs

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from hephaestus_pg.verbs.filters import Filters

logger = logging.getLogger("hephaestus_pg")


class Verbs(SearchVerbs):
    """The verbs, the same on a storage, in a transaction, and on a caller's own connection.

    Those that may send any number of statements have the ``timeout`` for each: a chunk of the
    ``_many``, a page of a ``stream``, a batch of ``prune``.
    """

    async def prune(  # noqa: PLR0913 - each is an option of its own, by keyword
        self,
        *,
        finished_before: datetime,
        workflow: Any = None,
        dry_run: bool = False,
        batch_size: int = CHUNK_ROWS,
        progress: Callable[[int], object] | None = None,
        timeout: float | None = None,
    ) -> int:
        """Deletes the completed and failed instances last written before a moment; how many.

        With a ``workflow`` only those of that one.

        It goes once through what was inserted before that moment, the oldest first, in batches of
        ``batch_size``, each a transaction of its own unless it is in one: interrupted, it has done
        whole batches. A row that another transaction holds at that moment is left to the next
        prune; so is one that a trigger or a policy keeps, with a line in the log at the end, and
        one that by another clock was inserted later than it was last written. ``progress`` is
        called with the number so far after each batch. ``dry_run`` only counts.

        Raises:
            InvalidValueError: The moment has no time zone, or another argument is wrong.
        """
        moment = filtering.column_moment("finished_before", finished_before)
        size = keyset.checked_rows(batch_size, "batch_size")
        checked_flag("dry_run", dry_run)
        checked_progress(progress, "a number")
        if dry_run:
            given: Filters = {
                "status_in": Status.FINISHED,
                "inserted_before": finished_before,
                "updated_before": finished_before,
            }
            if workflow is not None:
                given["workflow"] = workflow
            return await self.count(timeout=timeout, **given)
        name = (
            None if workflow is None else named(self._serializer.references, "workflow", workflow)
        )
        found = pruned = 0
        last: str | None = ""
        while last is not None:
            with self._executor.operation("prune", None, timeout) as deadline:
                [row] = await self._executor.fetch(
                    deadline, self._statements.prune, last, moment, str(size), name
                )
            found += int(row["found"])
            pruned += int(row["deleted"])
            last = row["last"] if int(row["found"]) == size else None
            if progress is not None:
                progress(pruned)
        if pruned < found:
            logger.warning(
                "prune found %d instances and deleted %d of them: something keeps the others; look "
                "at the triggers and policies of the table workflow_instances in schema %s",
                found,
                pruned,
                self.schema,
            )
        return pruned
