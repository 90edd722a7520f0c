"""Durable workflow state on PostgreSQL for asyncio Python.

``await storage.update(instance)`` after each step of a workflow; when the process dies, the
instance is there, exact, and the next process goes on. How it works::

    your code                await storage.update(instance)
        │
    storage ── registry      a name, a schema and a pool; started once, found by its name
        │
    runners · watch          who owns an instance: claims, heartbeats, give-back; who waits for it:
        │                    notifications after the answers, one listener, one look for all
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

A call waits, until its deadline at the most: to be admitted (at most 10,000 are queued or under
way), for its batch or the earlier call on its id, for a connection, for the server.

A statement is tried again in ``execution``: reads and idempotent writes while the deadline lasts,
``insert``, ``update`` and ``delete`` only if they surely did not happen. The process on the server
of a write whose connection broke is ended first (fencing), then the verb reads the row and decides
(reconciling). In ``transaction()`` only its beginning is tried again, on ``using()`` nothing.

A runner owns instances by its token in their rows, as long as its heartbeats keep its own row. A
claim, a take-over and a give-back each raise the revision, so that an ``update`` by whoever owned
the instance before is stale. A claim whose answer was lost is found by its owner's token.

Beside these are ``inspect``, which looks at the table without reading states, ``web``, a page that
shows it, ``otel``, which reports calls and statements to OpenTelemetry, ``migrations``, what a
person types (``commands``, ``prune``, ``migrate``, ``demo``, over ``cli``), ``testing``, for users'
tests, and ``embedded``, a server for them. Imports only go down; ``pyproject.toml`` has the layers.
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
from hephaestus_pg.execution.statistics import ProcessStats
from hephaestus_pg.inspect.findings import InstanceCount, Stats, Stuck
from hephaestus_pg.protocol import Storage
from hephaestus_pg.runners.claim import Claim
from hephaestus_pg.runners.runner import Runner
from hephaestus_pg.runners.settings import RunnerInfo
from hephaestus_pg.storage import AsyncStorage
from hephaestus_pg.values.instance import Context, ExecutionEntry, Instance, Status
from hephaestus_pg.values.references import LoadedClasses, NamedClasses, Names, References
from hephaestus_pg.values.summary import Summary
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
    "InstanceCount",
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
    "ProcessStats",
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
    "Storage",
    "StorageClosedError",
    "Stuck",
    "Summary",
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
