"""The verbs on one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from hephaestus_pg.errors import InvalidTypeError
from hephaestus_pg.verbs.observers import EVERYTHING, Observers
from hephaestus_pg.verbs.pruning import Verbs

if TYPE_CHECKING:
    from hephaestus_pg.codec.serializer import Serializer
    from hephaestus_pg.driver.errors import AnyConnection
    from hephaestus_pg.execution.connection_executor import ConnectionExecutor
    from hephaestus_pg.verbs.observers import Observer


class Transaction(Verbs):
    """The verbs on one connection; ``connection`` takes the caller's own statements too."""

    def __init__(
        self, executor: ConnectionExecutor, serializer: Serializer, *observers: Observer
    ) -> None:
        super().__init__(executor, serializer)
        self.connection: AnyConnection = executor.connection
        listened = EVERYTHING if executor.statements.of_citus else None
        self._observers = Observers(*observers, is_certain=False, listened=listened)

    def runner(self, *_: Any, **__: Any) -> NoReturn:
        """Refuses: a runner outlives a transaction, and has a connection of its own."""
        raise InvalidTypeError("runner", self, "a runner is the storage's own: storage.runner(…)")
