"""What can be done with instances: each verb as its statement, on whatever runs statements."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any, Protocol

from hephaestus_pg.filters import Filters, parameters
from hephaestus_pg.instance import Instance, checked_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from asyncpg import Record

    from hephaestus_pg.serializer import EncodedInstance, Serializer


class Executor(Protocol):
    """Runs the statements of ``sql/queries`` in one schema."""

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Record]:
        """The rows of the statement of that name."""
        ...


class Verbs:
    """The verbs, the same on a storage, on one transaction, and on a caller's own connection."""

    def __init__(self, executor: Executor, serializer: Serializer) -> None:
        self._executor = executor
        self._serializer = serializer

    async def get(self, id: str) -> Instance | None:
        """The instance with that id, or ``None``.

        Raises:
            InvalidValueError: No row can have such an id.
            CorruptInstanceError: The row cannot be read.
        """
        rows = await self._executor.fetch("get", checked_id(id))
        return self._serializer.decode(rows[0]) if rows else None

    async def put(self, instance: Instance) -> Instance:
        """Store the instance, whether its row exists or not; the last writer wins.

        An existing row keeps its ``workflow_version`` and ``inserted_at``; the rest is replaced and
        ``revision`` grows by one. What comes back is what a :meth:`get` would give now.

        Raises:
            SerializationError: The state cannot be stored exactly; nothing was written.
        """
        encoded = self._serializer.encode(instance)
        [row] = await self._executor.fetch(
            "put",
            encoded.id,
            encoded.workflow,
            encoded.status,
            encoded.workflow_version,
            encoded.state,
        )
        return _as_stored(encoded, row)

    async def delete(self, id: str) -> bool:
        """Delete the instance with that id. ``True`` if there was one; again, ``False``.

        Raises:
            InvalidValueError: No row can have such an id.
        """
        return bool(await self._executor.fetch("delete", checked_id(id)))

    async def query(self, **filters: Unpack[Filters]) -> list[Instance]:
        """The instances that every given filter lets through, in no order; see :class:`Filters`.

        Raises:
            InvalidValueError: There is no such filter, or its value is wrong.
            CorruptInstanceError: A row cannot be read.
        """
        rows = await self._executor.fetch(
            "query", *parameters(filters, self._serializer.references)
        )
        return [self._serializer.decode(row) for row in rows]


def _as_stored(encoded: EncodedInstance, row: Record) -> Instance:
    """The instance that was written, with what its row says of itself."""
    return replace(
        encoded.stored,
        workflow_version=row["workflow_version"],
        revision=row["revision"],
        inserted_at=row["inserted_at"].replace(tzinfo=UTC),
        updated_at=row["updated_at"].replace(tzinfo=UTC),
    )
