"""Where the pool of a storage comes from, and when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import AsyncStorage, InvalidTypeError, InvalidValueError
from hephaestus_pg.execution.connections import PoolConnections
from hephaestus_pg.execution.lifecycle import Lifecycle
from hephaestus_pg.execution.shared_pool import SharedPool

if TYPE_CHECKING:
    import asyncpg

    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.quick


def shared(pool: Pool, *, is_ours: bool) -> SharedPool:
    return SharedPool(
        connections=PoolConnections(pool),
        is_ours=is_ours,
        timeout=30.0,
        hooks=[],
        batch_by=None,
        can_listen=True,
    )


async def test_one_of_ours_is_to_be_closed_when_the_last_user_leaves(pool: Pool) -> None:
    ours, first, second = shared(pool, is_ours=True), Lifecycle("first"), Lifecycle("second")
    ours.users |= {first, second}
    assert not ours.leave(first)
    assert not ours.leave(first)  # it was not there any more
    assert ours.leave(second)


async def test_one_of_the_users_is_never_to_be_closed(pool: Pool) -> None:
    theirs, only = shared(pool, is_ours=False), Lifecycle("only")
    theirs.users.add(only)
    assert not theirs.leave(only)


@pytest.mark.parametrize(
    ("option", "value"),
    (
        ("dsn", "postgresql://elsewhere"),
        ("pool", "a pool"),
        ("batch_by", lambda: None),
        ("pgbouncer", True),
        ("max_size", 3),
        ("setup", print),
        ("mistyped", 1),
    ),
)
async def test_options_for_a_pool_exclude_that_of_another_storage(
    storage: AsyncStorage, option: str, value: Any
) -> None:
    with pytest.raises(InvalidValueError, match=f"share.*{option} would be for a pool of its own"):
        AsyncStorage.start(share=storage, name="other", **{option: value})


async def test_only_a_started_storage_can_be_shared(start: Start, storage: AsyncStorage) -> None:
    wrong: Any
    for wrong in (start(name="not_started"), storage.name, AsyncStorage, object()):
        with pytest.raises(InvalidTypeError, match="share"):
            AsyncStorage.start(share=wrong, name="other")
