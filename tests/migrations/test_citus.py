"""What is refused of a distributed table; tests/system/test_citus_migrations.py has a real one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import MigrationError, migrations
from hephaestus_pg.migrations import Distribution
from hephaestus_pg.migrations.citus import check_down, check_index, check_up
from hephaestus_pg.migrations.state import read_state

if TYPE_CHECKING:
    from hephaestus_pg.migrations.state import SchemaState
    from tests.support.migrated import Link

BY_ID, BY_SCHEMA, LOCAL = Distribution("id", 4), Distribution("schema", 1), Distribution("local", 1)


async def state_at(link: Link, version: int, distribution: Distribution | None) -> SchemaState:
    await migrations.up(connection=link, version=version)
    return replace(await read_state(link, "public"), distribution=distribution)


@pytest.mark.parametrize("distribution", (None, LOCAL, BY_SCHEMA, BY_ID))
async def test_ids_that_say_where_a_row_is_keep_their_type(
    database: str, link: Link, distribution: Distribution | None
) -> None:
    state = await state_at(link, 2, distribution)
    if distribution is not BY_ID:
        check_up(state, 3)
    else:
        check_up(state, 2)
        with pytest.raises(MigrationError, match="migration 3 .*; first run: .* undistribute"):
            check_up(state, 3)
    state = await state_at(link, 6, distribution)
    check_up(state, 6)
    check_down(state, 3)
    if distribution is not BY_ID:
        check_down(state, 0)
    else:
        with pytest.raises(MigrationError, match="below version 3 .*; first run: .* undistribute"):
            check_down(state, 2)


@pytest.mark.parametrize("distribution", (BY_SCHEMA, BY_ID))
async def test_the_index_whose_column_cannot_be_added_is_refused(
    database: str, link: Link, distribution: Distribution
) -> None:
    state = await state_at(link, 6, distribution)
    check_index(state, "full")
    check_index(state, "none")
    check_index(replace(state, distribution=LOCAL), "initial")
    with pytest.raises(MigrationError, match="profile initial then; first run: .* undistribute"):
        check_index(state, "initial")


async def test_only_what_is_on_the_workers_does_without_the_trigger(whole: str, link: Link) -> None:
    await link.execute("DROP TRIGGER hephaestus_pg_raise_revision ON workflow_instances")
    state = await read_state(link, "public")
    assert state.missing == {5}
    assert replace(state, distribution=LOCAL).missing == {5}
    assert replace(state, distribution=BY_SCHEMA).missing == frozenset()
    assert replace(state, distribution=BY_ID).missing == frozenset()
