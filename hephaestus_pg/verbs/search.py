"""The verbs that search: ``query``, ``stream`` and ``count``."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Literal, get_args

from hephaestus_pg.errors import (
    CorruptInstanceError,
    DatabaseError,
    InvalidValueError,
    RejectedError,
)
from hephaestus_pg.execution import retrying
from hephaestus_pg.verbs import filters as filtering
from hephaestus_pg.verbs import keyset
from hephaestus_pg.verbs.bulk import CHUNK_ROWS, BulkVerbs, slices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from typing import Unpack

    from asyncpg import Record

    from hephaestus_pg.values.instance import Instance
    from hephaestus_pg.values.summary import Summary
    from hephaestus_pg.verbs.filters import Filters, Matching
    from hephaestus_pg.verbs.keyset import Order

logger = logging.getLogger("hephaestus_pg")

OnError = Literal["raise", "skip"]
"""The choice for a row that cannot be read."""

PAGE_CHARS = 4 * 2**20
"""Characters of states that ``stream`` aims to have in memory at once."""

FIRST_ROWS = 4
"""Rows of a stream's first page, before anything is known of their size."""

GROWTH = 8
"""A page of a stream holds up to so many times the rows of the page before it."""

# A page in the order of an index is read from that, or planned anew with its filters. Only these
# leave so few rows that sorting them is better, whatever their values are.
_INDEXED_PAGES = ("page_by_id", "page_by_inserted_at")
_SELECTIVE = {"id", "runner", "contains", "due"}


class SearchVerbs(BulkVerbs):
    """Beside the verbs on ids those that search.

    ``query`` and ``count`` have one deadline for all that they do, ``stream`` one for each page.
    """

    async def query(
        self,
        *,
        order_by: Order | None = None,
        limit: int | None = None,
        after: str | None = None,
        on_error: OnError = "raise",
        timeout: float | None = None,
        **filters: Unpack[Filters],
    ) -> list[Instance]:
        """The instances that every given filter lets through; see :class:`Filters`.

        With ``limit``, ``after`` or ``order_by`` they come in order, by id unless that says
        otherwise, and ``after`` a :meth:`cursor` those behind it. Without, they come in no order.
        With ``-`` before its name the order is from the end: ``-inserted_at`` is newest first.

        By ``id`` and by ``inserted_at`` a page is read from an index, wherever it lies. By
        ``updated_at`` each page reads all that the filters let through: an index of it would cost
        every write more than it is worth here, so give a filter that leaves few.

        ``on_error="skip"`` leaves out rows that cannot be read, each with a line in the log.

        Raises:
            InvalidValueError: There is no such filter or order, or a value is wrong.
            CorruptInstanceError: A row cannot be read.
        """
        matching = filtering.matching(filters, self._serializer.references)
        skip = _skips(on_error)
        name, page = "query", ()
        if not (order_by is None and limit is None and after is None):
            order = keyset.checked_order("id" if order_by is None else order_by)
            name = keyset.page(order)
            page = keyset.parameters(order, after, limit)
        with self._executor.operation("query", None, timeout) as deadline:
            rows = await self._rows(deadline, name, matching, *page)
        found: list[Instance] = []
        for number, some in enumerate(slices(rows)):
            if number:
                await asyncio.sleep(0)
            found += self._decoded(some, skip=skip)
        return found

    @staticmethod
    def cursor(instance: Instance | Summary, *, order_by: Order = "id") -> str:
        """The place of a stored ``instance`` in that order, for ``query(after=…)``.

        A text of URL-safe characters, which may be kept anywhere.

        Raises:
            InvalidValueError: There is no such order, or the instance was never stored.
        """
        return keyset.cursor(instance, order_by)

    async def stream(
        self,
        *,
        on_error: OnError = "raise",
        timeout: float | None = None,
        **filters: Unpack[Filters],
    ) -> AsyncIterator[Instance]:
        """The instances that every given filter lets through, by id, a page in memory at a time.

        A page holds a few rows at first, then as many as fit into 4 MiB, going by the size of those
        before them, up to 1,000.

        No connection is held between two pages, so that leaving the loop early costs nothing. A row
        is seen once at the most; one that is inserted behind the current place, or changed so that
        the filters let it through there, is seen too. ``timeout`` is for each page, ``on_error`` as
        in :meth:`query`.

        Raises:
            InvalidValueError: There is no such filter, or its value is wrong.
            CorruptInstanceError: A row cannot be read.
        """
        matching = filtering.matching(filters, self._serializer.references)
        skip = _skips(on_error)
        last, rows = None, FIRST_ROWS
        while True:
            with self._executor.operation("stream", None, timeout) as deadline:
                page = await self._rows(deadline, "page_by_id", matching, last, str(rows))
            for number, some in enumerate(slices(page)):
                if number:
                    await asyncio.sleep(0)
                for instance in self._decoded(some, skip=skip):
                    yield instance
            if len(page) < rows:
                return
            last = page[-1]["id"]
            size = sum(len(row["state"]) for row in page) // len(page) + 1
            rows = max(1, min(CHUNK_ROWS, GROWTH * rows, PAGE_CHARS // size))

    async def count(self, *, timeout: float | None = None, **filters: Unpack[Filters]) -> int:
        """The number of instances that every given filter lets through.

        Raises:
            InvalidValueError: There is no such filter, or its value is wrong.
        """
        matching = filtering.matching(filters, self._serializer.references)
        with self._executor.operation("count", None, timeout) as deadline:
            [row] = await self._rows(deadline, "count", matching)
        return int(row["count"])

    def _decoded(self, rows: Iterable[Record], *, skip: bool) -> Iterator[Instance]:
        for row in rows:
            try:
                yield self._serializer.decode(row)
            except CorruptInstanceError as error:
                if not skip:
                    raise
                logger.warning("skipped: %s", error)

    async def _rows(
        self, deadline: float, name: str, matching: Matching, *page: Any, variant: str = ""
    ) -> list[Record]:
        """The rows of a statement that filters, by the index over states that there is by now."""
        driver, given, search = matching
        if name.startswith(_INDEXED_PAGES) and driver not in _SELECTIVE:
            driver = "none"
        searches = self._statements.searches
        if search is None:
            statement = searches[name, driver, variant]
            return await self._executor.fetch(deadline, statement, *given, *page)

        profile = ""

        async def find() -> list[Record]:
            nonlocal profile
            profile = await self._index_profile(deadline)
            indexed = search.driver(profile, self.schema)
            statement = searches[name, indexed if driver == "contains" else driver, variant]
            return await self._executor.fetch(deadline, statement, *given, *page)

        async def on_failure(error: DatabaseError) -> None:
            # Between the two statements the index may have been exchanged for another.
            if (
                not isinstance(error, RejectedError)
                or await self._index_profile(deadline) == profile
            ):
                raise error
            error.retryable = True

        if not self._executor.retries:
            return await find()
        # Around the tries of the statement itself.
        return await retrying.run(
            find,
            retrying.RECONCILED,
            deadline,
            name="a search",
            schema=self.schema,
            on_failure=on_failure,
        )

    async def _index_profile(self, deadline: float) -> str:
        [row] = await self._executor.fetch(deadline, self._statements.index_profile)
        return str(row["profile"])


def _skips(on_error: Any) -> bool:
    if on_error not in get_args(OnError):
        raise InvalidValueError("on_error", on_error, "give 'raise' or 'skip'")
    return bool(on_error == "skip")
