"""Durable workflow state on PostgreSQL for asyncio Python.

``await storage.put(instance)`` at each step of a workflow; when the process dies, the instance is
there, exact, and the next process goes on. How it works::

    your code                await storage.update(instance)
        │
    storage ── registry      a name, a schema and a pool; started once, found by its name
        │
    runners                  who owns an instance: claims, heartbeats, give-back
        │
    verbs                    single, bulk, search: which statement runs, what its row means
        ├── codec, values    an Instance to a row and back, exactly or not at all
        │
    execution                deadline, retries, life of a storage; a pool or a pinned connection
        ├── batching         concurrent calls on single ids become one statement: admission,
        │                    queue, workers, one timer for all deadlines
        │
    driver ── dsn            asyncpg: pool, connecting, hooks; its errors become ours
        │
    PostgreSQL ── sql/       one statement a file

A call waits, until its deadline at the most: to be admitted (10,000 are at once); in the queue, for
its batch or for the earlier call on the same id; for a connection of the pool; for the server.
Bulk and search verbs, transactions and ``batching=False`` have no queue.

A call is tried again in ``execution``: reads, and writes that may happen twice (``put``,
``prune``, and the whole transaction of a ``put_many`` or ``delete_many``) while the deadline lasts;
``insert``, ``update`` and ``delete`` only if they surely did not happen. Where the connection of a
write broke, its process on the server is ended first (fencing). If one of these three may have
happened, the verb then reads the row and decides (reconciling): it was applied, it is sent again,
or nobody can know. In ``transaction()`` and ``using()`` nothing is tried again.

A runner owns instances by its token in their rows, as long as its heartbeats keep its own row. A
claim, a take-over and a give-back each raise the revision, so that an ``update`` by whoever owned
the instance before is stale. A claim whose answer was lost is found by its owner's token.

Beside these, ``migrations`` (``python -m hephaestus_pg.migrate``) brings a schema to a version,
``cli``, ``demo`` and ``prune`` are what a person types, ``embedded`` is a server for tests,
``business_key`` makes ids, and ``errors`` is one tree. Imports only go down in this drawing; the
layers stand in ``pyproject.toml``.
"""

from typing import Any

from hephaestus_pg import (
    business_key,
    migrations,
)
from hephaestus_pg.codec.serializer import Serializer
from hephaestus_pg.errors import (
    AccessDeniedError,
    AlreadyStartedError,
    ClaimLostError,
    CodecError,
    ConcurrentUseError,
    ConflictError,
    ConnectionLostError,
    CorruptInstanceError,
    DatabaseError,
    DataLossError,
    EmbeddedServerError,
    HephaestusError,
    HookError,
    InstanceError,
    InstanceExistsError,
    InstanceNotFoundError,
    InvalidTypeError,
    InvalidValueError,
    LifecycleError,
    MigrationChangedError,
    MigrationError,
    MigrationFileError,
    MigrationLockError,
    NotStartedError,
    OperationInterruptedError,
    OperationTimeoutError,
    RejectedError,
    RewriteRefusedError,
    RunnerEndedError,
    SchemaOutdatedError,
    SerializationError,
    StaleInstanceError,
    StorageClosedError,
    TransactionEndedError,
    UnavailableError,
    UnexpectedRowError,
    UnknownReferenceError,
    UnrecognizedSchemaError,
    WrongEventLoopError,
)
from hephaestus_pg.execution.statistics import Stats
from hephaestus_pg.runners.claim import Claim
from hephaestus_pg.runners.runner import Runner
from hephaestus_pg.runners.settings import RunnerInfo
from hephaestus_pg.storage import AsyncStorage
from hephaestus_pg.values.instance import Context, ExecutionEntry, Instance, Status
from hephaestus_pg.values.references import LoadedClasses, NamedClasses, Names, References
from hephaestus_pg.verbs.filters import Filters

__all__ = [
    "AccessDeniedError",
    "AlreadyStartedError",
    "AsyncStorage",
    "Claim",
    "ClaimLostError",
    "CodecError",
    "ConcurrentUseError",
    "ConflictError",
    "ConnectionLostError",
    "Context",
    "CorruptInstanceError",
    "DataLossError",
    "DatabaseError",
    "EmbeddedServerError",
    "ExecutionEntry",
    "Filters",
    "HephaestusError",
    "HookError",
    "Instance",
    "InstanceError",
    "InstanceExistsError",
    "InstanceNotFoundError",
    "InvalidTypeError",
    "InvalidValueError",
    "LifecycleError",
    "LoadedClasses",
    "MigrationChangedError",
    "MigrationError",
    "MigrationFileError",
    "MigrationLockError",
    "NamedClasses",
    "Names",
    "NotStartedError",
    "OperationInterruptedError",
    "OperationTimeoutError",
    "References",
    "RejectedError",
    "RewriteRefusedError",
    "Runner",
    "RunnerEndedError",
    "RunnerInfo",
    "SchemaOutdatedError",
    "SerializationError",
    "Serializer",
    "StaleInstanceError",
    "Stats",
    "Status",
    "StorageClosedError",
    "TransactionEndedError",
    "UnavailableError",
    "UnexpectedRowError",
    "UnknownReferenceError",
    "UnrecognizedSchemaError",
    "WrongEventLoopError",
    "business_key",
    "migrations",
]


def __getattr__(name: str) -> Any:
    # Lazy: reading the installed metadata costs more than the whole import.
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("hephaestus_pg")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
