"""The verbs on one instance: one statement, and a look at the row where that changed nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus_pg.errors import (
    CorruptInstanceError,
    InstanceExistsError,
    InstanceNotFoundError,
    InvalidTypeError,
    InvalidValueError,
    StaleInstanceError,
    UnexpectedRowError,
)
from hephaestus_pg.values.arguments import checked_flag
from hephaestus_pg.values.instance import Instance, Status, checked_id, checked_revision
from hephaestus_pg.verbs import reconcile
from hephaestus_pg.verbs.observers import Observers

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpg import Record

    from hephaestus_pg.codec.encoded import EncodedInstance
    from hephaestus_pg.codec.serializer import Serializer
    from hephaestus_pg.execution.executor import Executor
    from hephaestus_pg.execution.statements import Statement
    from hephaestus_pg.verbs.reconcile import Verdict


class InstanceVerbs:
    """The verbs on one instance.

    Each takes a ``timeout`` in seconds, up to and by default the storage's own, which covers
    waiting for a connection and trying again too. Each may raise a :class:`DatabaseError`, of which
    ``applied`` says whether the call may have taken effect; past the deadline it is an
    :class:`OperationTimeoutError`. What a write stores is what the instance holds when the call
    begins to run, whatever its maps become later. Where the row's timestamp is outside the years 1
    to 9999, a write is stored, and then raises a :class:`CorruptInstanceError`.
    """

    def __init__(self, executor: Executor, serializer: Serializer) -> None:
        self._executor = executor
        self._statements = executor.statements
        self._serializer = serializer
        self._observers = Observers()

    def __reduce__(self) -> Any:
        raise InvalidTypeError(
            "storage",
            self,
            "it can't be copied or sent to another process: start one there, with the same DSN",
        )

    @property
    def schema(self) -> str:
        """The schema that holds the table."""
        return self._executor.schema

    async def get(self, id: str, *, timeout: float | None = None) -> Instance | None:
        """The instance with that id, or ``None``.

        Raises:
            InvalidValueError: No row can have such an id.
            CorruptInstanceError: The row cannot be read.
        """
        checked_id(id)
        with self._executor.operation("get", id, timeout) as deadline:
            row = await self._executor.row(deadline, self._statements.get, id)
        return None if row is None else self._serializer.decode(self._own(row, "get", id))

    async def put(self, instance: Instance, *, timeout: float | None = None) -> Instance:
        """Stores the instance, whether its row exists or not; the last writer wins.

        An existing row keeps its ``workflow_version``, as with HephaestusEcto, and ``inserted_at``;
        the rest is replaced and ``revision`` grows by one. It is :meth:`update` that moves an
        instance on to another version. What comes back is what a :meth:`get` would give now, unless
        a trigger of yours changes what is written: get it again then. After a connection that broke
        it may be written twice.

        Raises:
            SerializationError: The state cannot be stored exactly; nothing was written.
        """
        new = self._serializer.encode(instance)
        id = instance.id
        with self._executor.operation("put", id, timeout) as deadline:
            row = await self._executor.row(deadline, self._statements.put, *new.columns, new.state)
        row = self._own(row, "put", id)
        return self._observers.written(row, new.stored(row))

    async def insert(
        self, instance: Instance, *, replace_finished: bool = False, timeout: float | None = None
    ) -> Instance:
        """Stores the instance only if no row has its id; of many at once exactly one succeeds.

        With ``replace_finished`` it may also take the place of a completed or failed one. It then
        becomes the row entirely; only ``revision`` goes on from the old one's.

        After a connection that broke, an equal instance in the row counts as this one; of any other
        nobody can tell whether this one came before it, and the error says "unknown". Callers that
        may insert equal ones at once, of whom only one must go on, leave a mark of their own in it,
        such as ``runtime_metadata={"runner": name}``.

        Raises:
            InstanceExistsError: The id is taken; it says by what.
            SerializationError: The state cannot be stored exactly; nothing was written.
        """
        checked_flag("replace_finished", replace_finished)
        new = self._serializer.encode(instance)
        return await self._insert(
            new, replace_finished=replace_finished, runner=None, timeout=timeout
        )

    async def _insert(
        self,
        new: EncodedInstance,
        *,
        replace_finished: bool,
        runner: str | None,
        timeout: float | None,
    ) -> Instance:
        """As :meth:`insert`; the ``runner`` with that token owns the instance."""
        statements = self._statements
        statement = statements.insert_over_finished if replace_finished else statements.insert
        arguments = (*new.columns, str(replace_finished), runner, new.state)

        def verdict(held: Record | None) -> Verdict:
            is_owners = held is None or runner is None or held["runner"] == runner
            return reconcile.insert(held, equal=is_owners and self._equals(held, new))

        with self._executor.operation("insert", new.id, timeout) as deadline:
            _, row = await reconcile.write(self._executor, statement, verdict, deadline, *arguments)
            if row is None:
                held = await self._executor.row(deadline, statements.get, new.id)
                self._require_free(new.id, held, replace_finished=replace_finished)
                # Between the two the row was deleted or finished; or a trigger vetoes the insert.
                row = await self._insert_locking(
                    deadline, statement, arguments, verdict, replace_finished=replace_finished
                )
        row = self._own(row, "insert", new.id)
        return self._observers.written(row, new.stored(row))

    async def _insert_locking(
        self,
        deadline: float,
        statement: Statement,
        arguments: tuple[str | None, ...],
        verdict: Callable[[Record | None], Verdict],
        *,
        replace_finished: bool,
    ) -> Record | None:
        """Inserts and, where that gives no row, reads what is in its way, in one transaction.

        The statement locks that row, so that it is still there at the look.
        """
        id = str(arguments[0])
        tries = 0

        async def insert_and_look(inner: Executor) -> Record | None:
            nonlocal tries
            tries += 1
            row: Record | None = await inner.row(deadline, statement, *arguments)
            if row is None:
                held: Record | None = await inner.row(deadline, self._statements.get, id)
                if tries > 1 and verdict(held) == "applied":
                    return held  # the answer to its commit was lost
                self._require_free(id, held, replace_finished=replace_finished)
            return row

        return await self._executor.atomically(deadline, insert_and_look)

    @staticmethod
    def _require_free(id: str, held: Record | None, *, replace_finished: bool) -> None:
        """Refuses an insert where ``held`` is in its way."""
        if held is not None and not (replace_finished and held["status"] in Status.FINISHED):
            raise InstanceExistsError(id, status=held["status"], workflow=held["workflow"])

    async def update(self, instance: Instance, *, timeout: float | None = None) -> Instance:
        """Stores the instance only if its row is still at ``instance.revision`` (compare-and-set).

        ``workflow_version`` is stored too, unlike with :meth:`put`; ``inserted_at`` stays.

        Every writer raises the revision, HephaestusEcto and an ``UPDATE`` by hand too, and none
        comes twice for an id. What this cannot prevent is that a writer who does not compare, such
        as an Elixir runner that holds its instance in memory and puts all of it, overwrites this.

        After a connection that broke, an equal instance in the row counts as this one, as with
        :meth:`insert`: what counts leaves a mark too, or uses :meth:`modify`.

        Raises:
            StaleInstanceError: Another writer was first; it says which revision is there.
            InstanceNotFoundError: The row is gone.
            InvalidValueError: The instance has no revision: it was not read from the table.
            SerializationError: The state cannot be stored exactly; nothing was written.
        """
        return await self._update(instance, equal_counts=True, timeout=timeout)

    async def _update(
        self, instance: Instance, *, equal_counts: bool, timeout: float | None
    ) -> Instance:
        """As :meth:`update`; ``equal_counts``: after a broken connection an equal row is this."""
        new = self._serializer.encode(instance)
        seen = instance.revision
        if seen is None:
            raise InvalidValueError(
                "revision", None, "update takes an instance that was read or written; insert it"
            )

        arguments = (*new.columns, str(seen), new.state)

        def verdict(held: Record | None) -> Verdict:
            equal = self._equals(held, new)
            return reconcile.update(held, seen, equal=equal, equal_counts=equal_counts)

        with self._executor.operation("update", new.id, timeout) as deadline:
            _, row = await reconcile.write(
                self._executor, self._statements.update, verdict, deadline, *arguments
            )
            if row is None:
                held = await self._executor.row(deadline, self._statements.get, new.id)
                if held is None:
                    raise InstanceNotFoundError(new.id)
                if int(held["revision"]) != seen:
                    self._observers.stale(new.id, held["runner"])
                    raise StaleInstanceError(new.id, expected=seen, found=int(held["revision"]))
        row = self._own(row, "update", new.id)
        return self._observers.written(row, new.stored(row))

    async def delete(
        self, id: str, *, revision: int | None = None, timeout: float | None = None
    ) -> bool:
        """Deletes the instance with that id. ``True`` if there was one; again, ``False``.

        With a ``revision`` the row goes only if it is still at that one (compare-and-set). After a
        connection that broke, ``True`` may also say that another deleted it meanwhile.

        Raises:
            InvalidValueError: No row can have such an id or revision.
            StaleInstanceError: The row is at another revision.
        """
        checked_id(id)
        if revision is not None:
            checked_revision(revision)
        expected = None if revision is None else str(revision)

        def verdict(held: Record | None) -> Verdict:
            return reconcile.delete(held, expected)

        kept: str | None = None
        with self._executor.operation("delete", id, timeout) as deadline:
            while True:
                gone, row = await reconcile.write(
                    self._executor, self._statements.delete, verdict, deadline, id, expected
                )
                if row is not None:
                    self._own(row, "delete", id)
                if row is None or row["deleted"] == "true":
                    self._observers.deleted(id)
                    return gone
                found = row["revision"]
                if revision is not None and found != expected:
                    raise StaleInstanceError(id, expected=revision, found=int(found))
                if found == kept:
                    raise UnexpectedRowError("delete", id, schema=self.schema)
                # Another writer changed it meanwhile; seen twice, a trigger or a policy keeps it.
                kept = found

    def _own(self, row: Record | None, verb: str, id: str) -> Record:
        """``row``, when it is that of ``id``."""
        if row is None or row["id"] != id:
            found = None if row is None else row["id"]
            raise UnexpectedRowError(
                verb,
                id,
                schema=self.schema,
                found=found,
                applied="no" if verb == "get" else "unknown",
            )
        return row

    def _equals(self, held: Record | None, new: EncodedInstance) -> bool:
        if held is None:
            return False
        try:
            return self._serializer.decode(held) == new.expected()
        except CorruptInstanceError:
            return False
