from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import MigrationError, SchemaOutdatedError, migrations
from hephaestus_pg.migrations.usable import check_usable

if TYPE_CHECKING:
    from tests.support.migrated import Link


async def test_the_latest_schema_needs_no_word(link: Link, whole: str) -> None:
    assert await check_usable(link, "public") == ((), [])


async def test_one_that_is_too_old_names_both_versions(link: Link, whole: str) -> None:
    await migrations.down(whole, version=5)
    with pytest.raises(SchemaOutdatedError) as caught:
        await check_usable(link, "public")
    assert (caught.value.found, caught.value.needed) == (5, migrations.LATEST)


async def test_one_that_is_newer_is_warned_of(link: Link, whole: str) -> None:
    await link.execute(
        "INSERT INTO hephaestus_pg_migrations (version, name, checksum) VALUES (99, 'later', '')"
    )
    _, [warning] = await check_usable(link, "public")
    assert "is at version 99, newer than the" in warning


async def test_one_that_has_lost_its_key_is_refused(link: Link, whole: str) -> None:
    await link.execute("ALTER TABLE workflow_instances DROP CONSTRAINT workflow_instances_pkey")
    with pytest.raises(MigrationError, match="key"):
        await check_usable(link, "public")
