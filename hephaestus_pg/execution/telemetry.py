"""The seam for telemetry: it makes the executor of a storage, and so has its parts traced or not.

Chosen once, when the storage starts: without telemetry nothing on the way of a call asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from hephaestus_pg.errors import InvalidTypeError
from hephaestus_pg.execution.pool_executor import PoolExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus_pg.execution.shared_pool import SharedPool


class Telemetry(Protocol):
    """Reports what storages do."""

    def executor(
        self, shared: SharedPool, *, name: str, schema: str, batching: bool, timeout: float
    ) -> PoolExecutor:
        """Makes the executor of a storage, which reports what it does."""
        ...


def executor_maker(telemetry: Any) -> Callable[..., PoolExecutor]:
    """Returns what makes the executor of a storage; with ``None`` that reports nothing.

    Raises:
        InvalidTypeError: It is no telemetry.
    """
    if telemetry is None:
        return PoolExecutor
    make: Callable[..., PoolExecutor] | None = getattr(telemetry, "executor", None)
    if isinstance(telemetry, type) or not callable(make):
        advice = "give OpenTelemetry(), of hephaestus_pg.otel"
        raise InvalidTypeError("telemetry", telemetry, advice)
    return make
