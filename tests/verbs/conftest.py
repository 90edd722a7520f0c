"""Each thing that has the verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.verbs import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hephaestus_pg.verbs.pruning import Verbs


@pytest.fixture(params=("storage", "unbatched", "pool", "transaction", "savepoint"))
async def verbs(request: pytest.FixtureRequest, dsn: str, migrated: str) -> AsyncIterator[Verbs]:
    async with opened(request.param, dsn, migrated) as verbs:
        yield verbs
