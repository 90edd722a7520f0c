"""The names of operations and the attributes that say what they are, by the conventions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from hephaestus_pg.driver.connection import Server

    Attributes = dict[str, str | int | float]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.33.0"
"""The first conventions in which those for databases are stable."""

COLLECTION = "workflow_instances"

_WITHOUT_COLLECTION = frozenset(
    {
        "beat",
        "check_schema",
        "end_runner",
        "migrated_version",
        "notify",
        "ping",
        "register",
        "runners",
        "terminate_backend",
        "transaction",
    }
)


class Named(NamedTuple):
    """An operation: the name of its span, and the attributes of its span and its metrics."""

    span: str
    attributes: Attributes


class Naming(dict[str, Named]):
    """The operations on one schema by their names, each made when it is first needed."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._server: Server | None = None
        self.common: Attributes = {"db.system.name": "postgresql"}
        """The attributes of every operation."""

    def __missing__(self, operation: str) -> Named:
        attributes = {**self.common, "db.operation.name": operation}
        span = operation
        if operation not in _WITHOUT_COLLECTION:
            attributes["db.collection.name"] = COLLECTION
            span = f"{operation} {COLLECTION}"
        named = self[operation] = Named(span, attributes)
        return named

    def learn(self, server: Server) -> None:
        """Notes the server that answers now, which after a failover is another one."""
        if server == self._server:
            return
        self._server = server
        common: Attributes = {"db.system.name": "postgresql"}
        if server.database is not None:
            common["db.namespace"] = f"{server.database}|{self._schema}"
        if server.host is not None:
            common["server.address"] = server.host
        if server.port is not None:
            common["server.port"] = server.port
        self.common = common
        self.clear()


def failure(error: BaseException) -> Attributes:
    """Returns what is reported of an error: not its message, which may hold an id."""
    attributes: Attributes = {"error.type": type(error).__name__}
    sqlstate: Any = getattr(error, "sqlstate", None)
    if sqlstate:
        attributes["db.response.status_code"] = sqlstate
    return attributes
