"""Work on a connection of the pool that is no statement of a verb's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import AsyncStorage, OperationTimeoutError
from tests.support.lag import within

if TYPE_CHECKING:
    from tests.support.faults import Faults


async def test_reading_the_version_may_have_a_deadline_of_its_own(
    storage: AsyncStorage, faults: Faults
) -> None:
    faults.delay("migrated_version")
    async with within(2):
        with pytest.raises(OperationTimeoutError):
            await storage.migrated_version(timeout=0.2)
