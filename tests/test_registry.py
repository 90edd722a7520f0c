"""Storages are found by their names, each by one at a time."""

from __future__ import annotations

import pytest

from hephaestus_pg import AlreadyStartedError, AsyncStorage, NotStartedError, registry

pytestmark = pytest.mark.quick


async def test_a_started_storage_is_found_by_name(storage: AsyncStorage) -> None:
    assert AsyncStorage.named(storage.name) is storage


async def test_an_unknown_name_is_an_error_that_lists_the_known(storage: AsyncStorage) -> None:
    with pytest.raises(NotStartedError, match=storage.name) as caught:
        AsyncStorage.named("nobody")
    assert storage.name in caught.value.started


async def test_a_taken_name_is_refused_and_its_storage_goes_on(
    dsn: str, storage: AsyncStorage
) -> None:
    with pytest.raises(AlreadyStartedError, match=storage.name):
        await AsyncStorage.start(dsn, name=storage.name, schema=storage.schema)

    assert AsyncStorage.named(storage.name) is storage
    assert await storage.get("x") is None


async def test_a_name_is_free_again_after_closing(dsn: str, migrated: str) -> None:
    for _ in range(2):
        async with AsyncStorage.start(dsn, name=migrated, schema=migrated):
            pass


async def test_only_the_storage_that_has_a_name_frees_it(storage: AsyncStorage) -> None:
    registry.unregister(storage.name, object())
    assert AsyncStorage.named(storage.name) is storage


async def test_what_is_found_is_of_the_kind_that_was_asked_for(storage: AsyncStorage) -> None:
    assert registry.find(storage.name, AsyncStorage) is storage
    with pytest.raises(NotStartedError):
        registry.find(storage.name, int)
