"""``Storage``: the verbs that a storage and a transaction share, as a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from datetime import datetime
    from typing import Unpack

    from hephaestus_pg.values.instance import Instance
    from hephaestus_pg.values.summary import Summary
    from hephaestus_pg.verbs.filters import Filters
    from hephaestus_pg.verbs.keyset import Order
    from hephaestus_pg.verbs.search import OnError


class Storage(Protocol):
    """The verbs: what code is annotated with that takes a storage, a transaction, or a double.

    :class:`AsyncStorage` has them, and so has what its ``transaction()`` and ``using()`` give. What
    each takes, gives and raises is said there. Whether a class of your own keeps those promises too
    is what :mod:`hephaestus_pg.testing.conformance` tests.
    """

    async def get(self, id: str, *, timeout: float | None = None) -> Instance | None:
        """The instance with that id, or ``None``."""

    async def put(self, instance: Instance, *, timeout: float | None = None) -> Instance:
        """Stores the instance, whether its row exists or not; the last writer wins."""

    async def insert(
        self, instance: Instance, *, replace_finished: bool = False, timeout: float | None = None
    ) -> Instance:
        """Stores the instance only if no row has its id; of many at once exactly one succeeds."""

    async def update(self, instance: Instance, *, timeout: float | None = None) -> Instance:
        """Stores the instance only if its row is still at ``instance.revision``."""

    async def modify(
        self, id: str, change: Callable[[Instance], Instance], *, timeout: float | None = None
    ) -> Instance:
        """Reads the instance, changes it and updates it; again if another was first."""

    async def delete(
        self, id: str, *, revision: int | None = None, timeout: float | None = None
    ) -> bool:
        """Deletes the instance with that id. ``True`` if there was one."""

    async def put_many(
        self, instances: Iterable[Instance], *, timeout: float | None = None
    ) -> list[Instance]:
        """Stores all of the instances or none, in their order."""

    async def get_many(
        self, ids: Iterable[str], *, timeout: float | None = None
    ) -> dict[str, Instance]:
        """The instances with those ids, by id; an id without a row is absent."""

    async def delete_many(self, ids: Iterable[str], *, timeout: float | None = None) -> set[str]:
        """Deletes the instances with those ids; the ids of those that there were."""

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
        """The instances that every given filter lets through."""

    def cursor(self, instance: Instance | Summary, *, order_by: Order = "id") -> str:
        """The place of a stored instance in that order, for ``query(after=…)``."""

    def stream(
        self,
        *,
        on_error: OnError = "raise",
        timeout: float | None = None,
        **filters: Unpack[Filters],
    ) -> AsyncIterator[Instance]:
        """The instances that every given filter lets through, by id, a page at a time."""

    async def count(self, *, timeout: float | None = None, **filters: Unpack[Filters]) -> int:
        """The number of instances that every given filter lets through."""

    async def prune(  # noqa: PLR0913 - as AsyncStorage.prune
        self,
        *,
        finished_before: datetime,
        workflow: Any = None,
        dry_run: bool = False,
        batch_size: int = 1000,
        progress: Callable[[int], object] | None = None,
        timeout: float | None = None,
    ) -> int:
        """Deletes the completed and failed instances last written before a moment; how many."""
