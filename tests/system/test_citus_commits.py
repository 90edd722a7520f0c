"""Commits that a worker of a Citus cluster does not hear: what was acknowledged shows all the same.

The cluster is the tests' own, and its coordinator reaches the workers through proxies.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import pytest

from hephaestus_pg import AsyncStorage, ConnectionLostError, Context, Instance, Names, migrations
from tests.chaos.proxy import HOST, Proxy
from tests.support.catalog import WAIT_SECONDS
from tests.support.citus import distributing
from tests.support.cluster import cluster, missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hephaestus_pg.embedded import EmbeddedServer

pytestmark = [pytest.mark.once, pytest.mark.skipif(bool(missing()), reason=missing())]

SCHEMA = "orders"
IDS = [f"order::{number:03}" for number in range(50)]


class Behind(NamedTuple):
    """A storage on a cluster, and the proxies before its workers."""

    storage: AsyncStorage
    proxies: list[Proxy]

    def lose_workers_at(self, words: bytes) -> None:
        """Each worker is lost, once, as it is told so."""
        for proxy in self.proxies:
            proxy.keeps_back = words

    @property
    def have_lost(self) -> bool:
        return not all(proxy.keeps_back for proxy in self.proxies)


@asynccontextmanager
async def behind(kind: str) -> AsyncIterator[Behind]:
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(cluster({}))
        coordinator = await asyncpg.connect(servers.coordinator.dsn)
        stack.push_async_callback(coordinator.close)
        proxies = [
            await stack.enter_async_context(Proxy(partial(_port, worker)))
            for worker in servers.workers
        ]
        for worker, proxy in zip(servers.workers, proxies, strict=True):
            await coordinator.execute(
                f"SELECT citus_update_node(nodeid, '{HOST}', {proxy.port})"
                f" FROM pg_dist_node WHERE nodeport = {worker.port}"
            )
        await coordinator.execute("SELECT start_metadata_sync_to_all_nodes()")
        await migrations.up(servers.coordinator.dsn, schema=SCHEMA)
        for statement in distributing(SCHEMA, kind):
            await coordinator.execute(statement)
        storage = await AsyncStorage.start(
            servers.coordinator.dsn, schema=SCHEMA, references=Names()
        )
        stack.push_async_callback(storage.close)
        await storage.put_many(instances(0))
        yield Behind(storage, proxies)


def _port(server: EmbeddedServer) -> int:
    return server.port


def instances(generation: int) -> list[Instance]:
    return [Instance(id, "Order", context=Context({"is": generation})) for id in IDS]


async def generations(storage: AsyncStorage) -> set[int]:
    return {row.context.initial["is"] for row in (await storage.get_many(IDS)).values()}


@pytest.mark.parametrize("kind", ("schema", "id"))
async def test_what_is_acknowledged_shows_though_a_worker_was_lost_at_the_end_of_its_commit(
    kind: str,
) -> None:
    async with behind(kind) as cluster:
        storage = cluster.storage
        cluster.lose_workers_at(b"COMMIT PREPARED")
        await storage.put_many(instances(1))
        assert cluster.have_lost
        assert await generations(storage) == {1}


async def test_a_transaction_whose_end_a_worker_did_not_hear_is_of_unknown_outcome() -> None:
    async with behind("id") as cluster:
        cluster.lose_workers_at(b"COMMIT PREPARED")
        with pytest.raises(ConnectionLostError, match="citus.recover_2pc_interval") as caught:
            async with cluster.storage.transaction() as transaction:
                await transaction.put_many(instances(1))
        assert caught.value.applied == "unknown"

        async with asyncio.timeout(WAIT_SECONDS):
            while await generations(cluster.storage) != {1}:
                await asyncio.sleep(0.05)


async def test_one_worker_that_is_lost_at_its_commit_leaves_the_outcome_unknown() -> None:
    async with behind("schema") as cluster:
        cluster.lose_workers_at(b"COMMIT\0")
        with pytest.raises(ConnectionLostError, match="could not commit") as caught:
            async with cluster.storage.transaction() as transaction:
                await transaction.put(instances(1)[0])
        assert caught.value.applied == "unknown"
        assert cluster.have_lost
