"""Every error that this package raises, as one tree.

::

    HephaestusError
    ├── InvalidValueError (ValueError)       an argument or a field is wrong
    │   └── InvalidTypeError (TypeError)     it is of the wrong type
    ├── SerializationError (ValueError)      a state cannot be stored exactly
    ├── UnknownReferenceError (LookupError)  a stored name stands for no known class
    ├── LifecycleError                       the storage cannot be used like this
    │   ├── NotStartedError                  no storage has the name
    │   ├── AlreadyStartedError              a storage has the name already
    │   ├── StorageClosedError               it is closed
    │   ├── WrongEventLoopError              it belongs to another event loop or process
    │   ├── TransactionEndedError            the block of the transaction is left
    │   └── RunnerEndedError                 the runner was stopped, or missed its lease
    ├── InstanceError                        what an id stands for is not as expected
    │   ├── InstanceExistsError              the id is taken
    │   ├── InstanceNotFoundError            there is no such row
    │   ├── StaleInstanceError               another writer was first
    │   └── CorruptInstanceError             the row cannot be read
    ├── MigrationError                       the schema is not as it should be
    │   ├── SchemaOutdatedError              it is older than this package needs
    │   ├── UnrecognizedSchemaError          its version cannot be told
    │   ├── MigrationFileError               the migration files are not a whole set
    │   ├── MigrationChangedError            a file changed after it was applied
    │   ├── DataLossError                    a step would lose data
    │   ├── RewriteRefusedError              a step would keep a large table from everybody
    │   └── MigrationLockError               the lock was not to be had in time
    ├── EmbeddedServerError                  it could not be set up, started or stopped
    └── DatabaseError                        the server or the way to it failed
        ├── UnavailableError                 no connection could be had that serves
        ├── ConnectionLostError              the connection broke while in use
        ├── OperationTimeoutError (TimeoutError)  the deadline passed
        ├── OperationInterruptedError        something other than the statement ended the call
        ├── HookError                        code of yours that the pool calls raised
        ├── ConflictError                    another transaction was in the way
        │   └── ClaimLostError               another may own the instance by now
        ├── ConcurrentUseError               two tasks use one connection at once
        ├── AccessDeniedError                the role may not do this
        ├── RejectedError                    the server refused the statement or its data
        ├── UnexpectedRowError               a statement gave no row, or another than its own
        └── CodecError                       a codec of the connection's owner is in the way

Data travels as attributes. The message is built from them and says what to do next. No message
holds a password or the content of a stored state; one about an argument shows it, or its ends.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AccessDeniedError",
    "AlreadyStartedError",
    "ClaimLostError",
    "CodecError",
    "ConcurrentUseError",
    "ConflictError",
    "ConnectionLostError",
    "CorruptInstanceError",
    "DataLossError",
    "DatabaseError",
    "EmbeddedServerError",
    "HephaestusError",
    "HookError",
    "InstanceError",
    "InstanceExistsError",
    "InstanceNotFoundError",
    "InvalidTypeError",
    "InvalidValueError",
    "LifecycleError",
    "MigrationChangedError",
    "MigrationError",
    "MigrationFileError",
    "MigrationLockError",
    "NotStartedError",
    "OperationInterruptedError",
    "OperationTimeoutError",
    "RejectedError",
    "RewriteRefusedError",
    "RunnerEndedError",
    "SchemaOutdatedError",
    "SerializationError",
    "StaleInstanceError",
    "StorageClosedError",
    "TransactionEndedError",
    "UnavailableError",
    "UnexpectedRowError",
    "UnknownReferenceError",
    "UnrecognizedSchemaError",
    "WrongEventLoopError",
]


def shown(value: object, limit: int = 80) -> str:
    """Shows a value in a message: its ``repr``, of which ``limit`` characters are left.

    What is cut out is in the middle: a path tells most at its end.
    """
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a value whose repr raises must not hide the error about it
        text = f"<{type(value).__qualname__}>"
    end = limit // 3
    return text if len(text) <= limit else f"{text[: limit - end]}…{text[-end:]}"


class HephaestusError(Exception):
    """The root: ``except HephaestusError`` catches every error of this package."""

    def __copy__(self) -> HephaestusError:
        return _restored(type(self), self.args, self.__dict__, self.__cause__)

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with ``args``, which are not what the constructors below
        # take. An error has to get from a worker process to its parent, whatever it is about.
        attributes = {name: _sendable(value) for name, value in self.__dict__.items()}
        cause = _sendable(self.__cause__)
        if isinstance(cause, str):
            cause = HephaestusError(cause)
        return _restored, (type(self), self.args, attributes, cause)


def _restored(
    cls: type[HephaestusError],
    args: tuple[Any, ...],
    attributes: dict[str, Any],
    cause: BaseException | None = None,
) -> HephaestusError:
    error = cls.__new__(cls)
    error.args = args  # __new__ does not set those of a TimeoutError, which is an OSError
    error.__dict__.update(attributes)
    if cause is not None:
        error.__cause__ = cause
    return error


def _sendable(value: Any) -> Any:
    """Returns ``value``, or its text if it cannot be pickled and read again."""
    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 - our own, of this moment
    except Exception:  # noqa: BLE001 - whatever its own methods raise
        return shown(value)
    return value


# Arguments and stored data


class InvalidValueError(HephaestusError, ValueError):
    """An argument or a field is wrong.

    ``field`` names it, ``value`` is what was given, and ``expected`` says what to do.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field} is {shown(value)}: {expected}")
        self.field = field
        self.value = value
        self.expected = expected


class InvalidTypeError(InvalidValueError, TypeError):
    """An argument or a field is of the wrong type."""


class SerializationError(HephaestusError, ValueError):
    """A state cannot be stored exactly, so nothing was written.

    ``path`` leads to the value (``context.initial.customer.name``); ``reason`` says what is wrong.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class UnknownReferenceError(HephaestusError, LookupError):
    """A stored name stands for no class that the storage's ``References`` know."""

    def __init__(self, name: str, advice: str) -> None:
        super().__init__(f"{shown(name)} is not a known class: {advice}")
        self.name = name


# Storages and their lifecycle


class LifecycleError(HephaestusError):
    """The storage ``name`` cannot be used like this."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class NotStartedError(LifecycleError):
    """No storage is started under ``name``; ``started`` lists those that are."""

    def __init__(self, name: str, started: Iterable[str]) -> None:
        self.started = tuple(sorted(started))
        held = ", ".join(map(repr, self.started)) or "none"
        super().__init__(
            name,
            f"no storage {name!r} is started (started: {held}); "
            f"call `await AsyncStorage.start(..., name={name!r})` first",
        )


class AlreadyStartedError(LifecycleError):
    """A started storage has the ``name`` already."""

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            f"a storage {name!r} is already started; close it first, "
            f"give another name=, or use AsyncStorage.named({name!r})",
        )


class StorageClosedError(LifecycleError):
    """The storage is closed or closing."""

    def __init__(self, name: str) -> None:
        super().__init__(
            name, f"the storage {name!r} is closed; start a new one with AsyncStorage.start"
        )


class WrongEventLoopError(LifecycleError):
    """The storage belongs to another event loop or another process."""

    def __init__(self, name: str, owner: str) -> None:
        super().__init__(
            name,
            f"the storage {name!r} belongs to {owner}; a pool cannot be shared between "
            "event loops or processes: start one storage in each",
        )


class TransactionEndedError(LifecycleError):
    """The transaction is committed or rolled back: its block is left, or a statement did that."""

    def __init__(self, name: str, advice: str = "use it inside its `async with`") -> None:
        super().__init__(name, f"the transaction of the storage {name!r} has ended; {advice}")


class RunnerEndedError(LifecycleError):
    """The ``runner`` (its name) was stopped, or is dead; ``reason`` says which and why."""

    def __init__(self, name: str, *, runner: str, reason: str) -> None:
        super().__init__(
            name,
            f"the runner {runner!r} of the storage {name!r} has ended: {reason}; it cannot be "
            "revived: start another one",
        )
        self.runner = runner
        self.reason = reason


# Instances


class InstanceError(HephaestusError):
    """The row of ``id`` is not as the caller expected."""

    def __init__(self, id: str, message: str) -> None:
        super().__init__(message)
        self.id = id


class InstanceExistsError(InstanceError):
    """``insert`` found a row with the id; ``status`` and ``workflow`` (its name) are the row's."""

    def __init__(self, id: str, *, status: str, workflow: str) -> None:
        super().__init__(
            id,
            f"an instance {id!r} exists already ({status}, {workflow}); get it, choose another id, "
            "or, once it is finished, insert with replace_finished=True",
        )
        self.status = status
        self.workflow = workflow


class InstanceNotFoundError(InstanceError):
    """There is no row with the id."""

    def __init__(self, id: str) -> None:
        super().__init__(id, f"there is no instance {id!r}; insert it first")


class StaleInstanceError(InstanceError):
    """Another writer was first: the row's revision is ``found``, not ``expected``."""

    def __init__(self, id: str, *, expected: int, found: int) -> None:
        super().__init__(
            id,
            f"instance {id!r} is at revision {found}, not {expected}: another write was first, "
            "maybe your own, which returned the instance to go on with; get it again, decide anew, "
            "and update that",
        )
        self.expected = expected
        self.found = found


class CorruptInstanceError(InstanceError):
    """The row cannot be read as an instance; ``reason`` says why."""

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(id, f"instance {id!r} cannot be read: {reason}")
        self.reason = reason


# Schemas and migrations


class MigrationError(HephaestusError):
    """The schema is not as it should be; ``schema`` is its name, or ``None`` without one."""

    def __init__(self, schema: str | None, message: str) -> None:
        super().__init__(message)
        self.schema = schema


class SchemaOutdatedError(MigrationError):
    """The schema is older than this package needs; ``command`` brings it up to date.

    ``found`` is its version, or 0 without a table. It is ``None`` when a statement found a table or
    a column gone; ``missing`` is then the server's message.
    """

    def __init__(self, schema: str, *, found: int | None, needed: int, missing: str = "") -> None:
        self.found = found
        self.needed = needed
        self.missing = missing
        self.command = f"python -m hephaestus_pg.migrate up --schema {schema}"
        if missing:
            what = f"schema {schema!r} has lost what version {needed} made in it ({missing})"
        elif found:
            what = f"schema {schema!r} is at version {found}, version {needed} is needed"
        else:
            what = f"there is no table workflow_instances in schema {schema!r}; if that is its name"
        super().__init__(schema, f"{what}{';' if missing or found else ','} run: {self.command}")


class UnrecognizedSchemaError(MigrationError):
    """The version of what is there cannot be told.

    ``workflow_instances`` is no table, or lacks columns, or its ``comment`` is no known version.
    """

    def __init__(self, schema: str, comment: str | None, message: str) -> None:
        super().__init__(schema, message)
        self.comment = comment


class MigrationFileError(MigrationError):
    """The migration files are not a whole set: a gap, a duplicate, a step without its down."""

    def __init__(self, message: str) -> None:
        super().__init__(None, message)


class MigrationChangedError(MigrationError):
    """The file of migration ``version`` (``name``) is not the one that was applied."""

    def __init__(self, schema: str, *, version: int, name: str) -> None:
        super().__init__(
            schema,
            f"migration {version} ({name}) differs from what was applied to schema {schema!r}; "
            "restore the file, and put the change into a new migration",
        )
        self.version = version
        self.name = name


class DataLossError(MigrationError):
    """A step would lose data, so no step ran; ``flag`` allows it."""

    def __init__(self, schema: str, message: str, *, flag: str) -> None:
        super().__init__(schema, f"nothing is taken back: {message}; {flag} allows it")
        self.flag = flag


class RewriteRefusedError(MigrationError):
    """A step would rewrite a table of ``size`` bytes, so it did not run; ``flag`` allows it."""

    def __init__(self, schema: str, *, size: int, flag: str) -> None:
        super().__init__(
            schema,
            f"the table workflow_instances in schema {schema!r} ({size / 2**20:,.0f} MiB) would be "
            f"rewritten, and nobody could read or write it meanwhile; {flag} allows it",
        )
        self.size = size
        self.flag = flag


class MigrationLockError(MigrationError):
    """A migration did not get a lock in time."""


class EmbeddedServerError(HephaestusError):
    """The embedded server could not be set up, started or stopped; ``log`` has its last lines."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(f"{message}\n{log}".rstrip())
        self.log = log


# The server and the way to it


Applied = Literal["no", "unknown"]


class DatabaseError(HephaestusError):
    """The server, or the way to it, failed; ``__cause__`` is the driver's own error.

    ``applied`` is ``"no"`` if the statement had no effect, ``"unknown"`` if it may have had one.
    ``retryable`` says whether the same call may succeed later. ``sqlstate`` is the server's code of
    five characters, listed in appendix A of PostgreSQL's manual; ``None`` if the error has none.
    """

    sqlstate: str | None = None

    def __init__(self, message: str, *, applied: Applied, retryable: bool) -> None:
        super().__init__(message)
        self.applied: Applied = applied
        self.retryable = retryable


class UnavailableError(DatabaseError):
    """There was no connection that serves.

    It was refused, the server is shutting down, full, or a standby, or there is no such host.
    """


class ConnectionLostError(DatabaseError):
    """The connection broke while it was in use."""


class OperationTimeoutError(DatabaseError, TimeoutError):
    """The deadline of a call passed.

    ``verb`` and ``id`` name the call (``id`` is ``None`` for a call about several); ``timeout`` is
    how many seconds it had.
    """

    verb: str | None = None
    id: str | None = None
    timeout: float | None = None

    @classmethod
    def before_sending(cls) -> OperationTimeoutError:
        """Returns the error for a call whose deadline passed before anything was sent."""
        return cls(
            "the deadline passed before the statement was sent", applied="no", retryable=True
        )

    def complete(
        self, verb: str, id: str | None, *, timeout: float, taken: float, advice: str = ""
    ) -> None:
        """Adds the call that ended. The first caller counts, because it is the closest."""
        if self.verb is not None:
            return
        self.verb, self.id, self.timeout = verb, id, timeout
        what = verb if id is None else f"{verb} of {id!r}"
        # The server's own ``statement_timeout`` may be shorter.
        ended = (
            f"did not end within {timeout:g} s"
            if taken > 0.9 * timeout
            else f"was ended after {taken:.2g} of its {timeout:g} s"
        )
        self.args = (f"{what} {ended}: {self.args[0]}{advice}", *self.args[1:])


class OperationInterruptedError(DatabaseError):
    """Something other than its statement ended the call; ``__cause__`` is it, if it is known.

    For example, a program that ends by cancelling every task cancels those that send statements.
    """

    def __init__(self) -> None:
        super().__init__(
            "the call was ended by something other than its statement, such as a shutdown that "
            "cancels every task; it may have had its effect: read before you write",
            applied="unknown",
            retryable=False,
        )


class HookError(DatabaseError):
    """A hook of yours, a function that the pool calls, raised ``__cause__``; ``hook`` names it."""

    def __init__(
        self, hook: str, cause: BaseException, *, applied: Applied, retryable: bool
    ) -> None:
        super().__init__(
            f"{hook} raised {type(cause).__name__}, which is this error's cause; fix it there, "
            "since it is your code",
            applied=applied,
            retryable=retryable,
        )
        self.hook = hook


class ConflictError(DatabaseError):
    """Another transaction was in the way: a lock, a deadlock, or a change of the table."""


class ClaimLostError(ConflictError):
    """The claim of the instance ``id`` was lost before its scope was left; ``reason`` says how.

    Another runner may own the instance by now. What the scope wrote by ``update`` before is stored;
    a later ``update`` of it is stale.
    """

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(
            f"the claim of {id!r} was lost: {reason}; another runner goes on from what is stored",
            applied="unknown",
            retryable=False,
        )
        self.id = id
        self.reason = reason


class ConcurrentUseError(DatabaseError):
    """Two tasks used one connection, and so one transaction, at once."""

    def __init__(self) -> None:
        super().__init__(
            "two tasks use one transaction at once; a transaction is one connection: await each "
            "call before the next, or give each task a transaction of its own",
            applied="no",
            retryable=False,
        )


class AccessDeniedError(DatabaseError):
    """The role is not allowed to log in or to do this."""


class RejectedError(DatabaseError):
    """The server refused the statement or the data in it.

    ``missing`` is the server's message if the statement names a table or column that is gone.
    """

    missing = ""


class UnexpectedRowError(DatabaseError):
    """A ``verb`` got no row for its ``id``, or the row of another id, ``found``."""

    def __init__(
        self,
        verb: str,
        id: str,
        *,
        schema: str,
        found: str | None = None,
        applied: Applied = "unknown",
    ) -> None:
        gave = "no row" if found is None else f"the row {shown(found)} instead"
        super().__init__(
            f"{verb} of {id!r} gave {gave}: something changes what is written; look at the "
            f"triggers, rules and policies of the table workflow_instances in schema {schema!r}",
            applied=applied,
            retryable=False,
        )
        self.verb = verb
        self.id = id
        self.found = found


class CodecError(DatabaseError):
    """A codec that the connection's owner has set is in the way of our statements."""

    def __init__(self, what: str, *, applied: Applied) -> None:
        super().__init__(
            f"a codec set on the connection, of text or varchar, is in the way: {what}; give the "
            "storage a connection or a pool without it, or a codec that takes and gives a str",
            applied=applied,
            retryable=False,
        )
