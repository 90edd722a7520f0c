"""The seam for telemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import AsyncStorage, InvalidTypeError
from hephaestus_pg.execution.pool_executor import PoolExecutor
from hephaestus_pg.execution.telemetry import executor_maker

if TYPE_CHECKING:
    from tests.support.starting import Start


async def test_it_makes_the_executor_of_a_storage(start: Start) -> None:
    made: list[str] = []

    class Own:
        def executor(self, shared: Any, *, name: str, **options: Any) -> PoolExecutor:
            made.append(name)
            return PoolExecutor(shared, name=name, **options)

    async with start(telemetry=Own()) as storage:
        await storage.ping()
    assert made == [storage.name]


@pytest.mark.quick
def test_without_telemetry_the_executor_is_the_plain_one() -> None:
    assert executor_maker(None) is PoolExecutor


@pytest.mark.quick
@pytest.mark.parametrize("given", (object(), "otel", True))
def test_what_is_no_telemetry_is_refused(given: Any) -> None:
    with pytest.raises(InvalidTypeError, match="OpenTelemetry"):
        AsyncStorage.start("postgresql://", telemetry=given)
