"""Durable workflow state on PostgreSQL for asyncio Python.

``await storage.put(instance)`` at each step of a workflow; when the process dies, the instance is
there, exact, and the next process goes on.
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
from hephaestus_pg.storage import AsyncStorage
from hephaestus_pg.values.instance import Context, ExecutionEntry, Instance, Status
from hephaestus_pg.values.references import LoadedClasses, NamedClasses, Names, References
from hephaestus_pg.verbs.filters import Filters

__all__ = [
    "AccessDeniedError",
    "AlreadyStartedError",
    "AsyncStorage",
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
    "SchemaOutdatedError",
    "SerializationError",
    "Serializer",
    "StaleInstanceError",
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
