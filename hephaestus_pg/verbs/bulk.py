"""The verbs on instances by their ids, any number at once."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

from hephaestus_pg.errors import (
    HephaestusError,
    InvalidTypeError,
    InvalidValueError,
    UnexpectedRowError,
    shown,
)
from hephaestus_pg.values.arguments import listed
from hephaestus_pg.values.instance import Instance, checked_id
from hephaestus_pg.verbs.modify import ModifyVerbs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from asyncpg import Record

    from hephaestus_pg.codec.encoded import EncodedInstance
    from hephaestus_pg.execution.executor import Executor

CHUNK_ROWS = 1000
"""Rows that one statement of a bulk verb holds at the most."""

CHUNK_CHARS = 8 * 2**20
"""Characters of states after which a statement of ``put_many`` takes no more rows."""

SLICE_CHARS = 2**17
"""Characters of states that are decoded in one go, which takes about a millisecond."""

_ROW_CHARS = 1000  # of a state take as long as the rest of its row


class BulkVerbs(ModifyVerbs):
    """Beside the verbs on one instance those on many. A write is done for all or for none.

    They have the ``timeout`` for each statement, which holds a chunk of what is given.
    """

    async def put_many(
        self, instances: Iterable[Instance], *, timeout: float | None = None
    ) -> list[Instance]:
        """Stores all of the instances or none, each as :meth:`put` does, in their order.

        For the sake of memory, what comes back shares the maps of what was given, where those are
        stored as they are: it shows what is stored as long as they are not changed. So do not
        change them before it returns either: each chunk is stored as it is when its turn comes.

        Raises:
            InvalidValueError: Two of them have the same id.
            SerializationError: A state cannot be stored exactly; nothing was written. A note of the
                error names the instance.
        """
        given = listed("instances", instances, "Instance values")
        stored: dict[str, tuple[Record, Instance]] = {}
        ids: set[str] = set()
        for instance in given:
            if not isinstance(instance, Instance):
                raise InvalidTypeError("instances", instance, "give Instance values")
            if instance.id in ids:
                raise InvalidValueError("id", instance.id, "it stands twice in one put_many")
            ids.add(instance.id)
        # Locked in one order across statements too, so that two calls cannot deadlock.
        ordered = sorted(given, key=lambda instance: instance.id)

        async def put_all(inner: Executor) -> None:
            for chunk in self._encoded(ordered):
                columns = zip(*[(*new.columns, new.state) for new in chunk.values()], strict=True)
                deadline = inner.deadline(timeout)
                rows = await inner.fetch(deadline, self._statements.put_many, *map(list, columns))
                self._require_these("put_many", rows, chunk, every=True)
                for row in rows:
                    stored[row["id"]] = row, chunk[row["id"]].shared(row)

        with self._executor.operation("put_many", None, timeout) as deadline:
            await self._executor.atomically(deadline, put_all)
        return [self._observers.written(*stored[instance.id]) for instance in given]

    async def get_many(
        self, ids: Iterable[str], *, timeout: float | None = None
    ) -> dict[str, Instance]:
        """The instances with those ids, by id; an id without a row is absent.

        Raises:
            CorruptInstanceError: A row cannot be read.
        """
        found = {}
        wanted = dict.fromkeys(map(checked_id, listed("ids", ids, "ids", keys=True)))
        with self._executor.operation("get_many", None, timeout):
            for chunk in _chunks(wanted):
                deadline = self._executor.deadline(timeout)
                rows = await self._executor.fetch(deadline, self._statements.get_many, chunk)
                self._require_these("get_many", rows, set(chunk), every=False)
                for number, some in enumerate(slices(rows)):
                    if number:
                        await asyncio.sleep(0)
                    found.update({row["id"]: self._serializer.decode(row) for row in some})
        return found

    async def delete_many(self, ids: Iterable[str], *, timeout: float | None = None) -> set[str]:
        """Deletes the instances with those ids, all or none; the ids of those that there were.

        After a connection that broke, some of them may have been deleted by another meanwhile.
        """
        ordered = sorted(set(map(checked_id, listed("ids", ids, "ids", keys=True))))
        gone: set[str] = set()

        async def delete_all(inner: Executor) -> None:
            for chunk in _chunks(ordered):
                rest, kept = chunk, dict[str, str]()
                while rest:
                    deadline = inner.deadline(timeout)
                    rows = await inner.fetch(
                        deadline, self._statements.delete_many, rest, [None] * len(rest)
                    )
                    self._require_these("delete_many", rows, set(rest), every=False)
                    gone.update(row["id"] for row in rows if row["deleted"] == "true")
                    # As in delete: others are at these rows too, or something keeps them.
                    before = kept
                    kept = {row["id"]: row["revision"] for row in rows if row["deleted"] != "true"}
                    for id, _ in kept.items() & before.items():
                        raise UnexpectedRowError(
                            "delete_many", id, schema=self.schema, applied="no"
                        )
                    rest = sorted(kept)

        with self._executor.operation("delete_many", None, timeout) as deadline:
            await self._executor.atomically(deadline, delete_all)
        for id in gone:
            self._observers.deleted(id)
        return gone

    def _require_these(
        self, verb: str, rows: list[Record], ids: Collection[str], *, every: bool
    ) -> None:
        """Raises if a row is of an id that was not given or, with ``every``, if one has no row."""
        given = {row["id"] for row in rows}
        strays = given.difference(ids)
        missing = set(ids) - given if every or strays else ()
        if missing:
            found = min(strays, default=None)
            raise UnexpectedRowError(
                verb, min(missing), schema=self.schema, found=found, applied="no"
            )

    def _encoded(self, instances: Iterable[Instance]) -> Iterator[dict[str, EncodedInstance]]:
        """The instances by id, encoded, in chunks limited by rows and by bytes."""
        chunk: dict[str, EncodedInstance] = {}
        size = 0
        for instance in instances:
            try:
                new = self._serializer.encode(instance)
            except HephaestusError as error:
                error.add_note(f"It is in the instance {shown(instance.id)}.")
                raise
            if chunk and (len(chunk) == CHUNK_ROWS or size + len(new.state) > CHUNK_CHARS):
                yield chunk
                chunk, size = {}, 0
            chunk[new.id] = new
            size += len(new.state)
        if chunk:
            yield chunk


def slices(rows: list[Record]) -> Iterator[list[Record]]:
    """The rows to decode, in slices between which the event loop is to see to other tasks."""
    start = size = 0
    for end, row in enumerate(rows):
        if size >= SLICE_CHARS:
            yield rows[start:end]
            start, size = end, 0
        size += _ROW_CHARS + len(row["state"])
    yield rows[start:]


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while chunk := list(islice(rest, CHUNK_ROWS)):
        yield chunk
