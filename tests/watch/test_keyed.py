from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import HookError, Instance, OperationTimeoutError, StorageClosedError
from hephaestus_pg.watch import watchers
from hephaestus_pg.watch.keyed import KeyedWatchers
from tests.batching.test_keyed import become, role, tenant
from tests.support.lag import happens
from tests.watch.conftest import done

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage
    from tests.support.databases import Owner
    from tests.support.starting import Start

__all__ = ["role"]  # a fixture


async def wait(storage: AsyncStorage, who: str, id: str, **options: Any) -> Instance:
    tenant.set(who)
    return await storage.wait(id, **options)


def waiting(storage: AsyncStorage, who: str, id: str, **options: Any) -> asyncio.Task[Instance]:
    return asyncio.create_task(wait(storage, who, id, **options))


@pytest.fixture(autouse=True)
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 0.1)


@pytest.fixture(params=(None, tenant.get), ids=("each alone", "batch_by"))
async def storage(
    request: pytest.FixtureRequest, start: Start, role: str, owner: Owner, migrated: str
) -> AsyncStorage:
    """One whose pool shows each caller the rows of his tenant."""
    table = f"{migrated}.workflow_runners"
    owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role}")
    return await start(
        setup=become, batch_by=request.param, server_settings={"role": role}, timeout=5
    )


async def test_who_waits_sees_the_rows_of_his_tenant_and_no_others(storage: AsyncStorage) -> None:
    theirs, hers, never = (
        waiting(storage, "acme", "a"),
        waiting(storage, "globex", "g"),
        waiting(storage, "acme", "g", timeout=1),
    )
    await happens(lambda: storage._watchers.looks >= 2)
    tenant.set("initech")
    await storage.put(done("i"))  # whose writes the others are not told of either
    for who, id in (("acme", "a"), ("globex", "g")):
        tenant.set(who)
        await storage.put(done(id))
    assert (await theirs).id == "a"
    assert (await hers).id == "g"
    with pytest.raises(OperationTimeoutError):
        await never
    assert len(storage._watchers) == 0


async def test_closing_ends_those_who_wait(storage: AsyncStorage) -> None:
    tasks = [waiting(storage, who, "x") for who in ("acme", "acme", "globex")]
    await happens(lambda: len(storage._watchers) >= 2)
    await storage.close()
    for task in tasks:
        with pytest.raises(StorageClosedError):
            await task


async def test_a_batch_by_that_fails_is_named(start: Start) -> None:
    async with start(batch_by=lambda: 1 / 0) as storage:
        with pytest.raises(HookError, match="batch_by raised ZeroDivisionError"):
            await storage.wait("x")


async def test_a_pool_without_hooks_has_one_look_for_all(start: Start) -> None:
    async with start() as storage:
        assert not isinstance(storage._watchers, KeyedWatchers)
