"""Notes with the statement to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from hephaestus_pg import migrations
from hephaestus_pg.migrations import Profile
from tests.support.ecto import original

if TYPE_CHECKING:
    from tests.support.migrated import Link

pytestmark = pytest.mark.quick

COMMENT = "SELECT obj_description('workflow_instances'::regclass, 'pg_class')"
PROFILES: tuple[Profile, ...] = get_args(Profile)


async def test_down_notes_that_the_comment_says_a_higher_version(link: Link, database: str) -> None:
    await original(link, 2, "2")
    result = await migrations.down(database, version=1, allow_version_loss=True)
    assert (result.adopted, result.from_version, result.to_version) == (2, 2, 1)
    assert "still says 2" in result.notes[0]
    mend = result.notes[0][result.notes[0].index("COMMENT ON") :]
    assert mend == "COMMENT ON TABLE public.workflow_instances IS '1'"
    assert await link.fetchval(COMMENT) == "2"
    assert await migrations.migrated_version(database) == 1


@pytest.mark.parametrize("profile", PROFILES)
async def test_an_index_choice_notes_how_to_keep_ecto_from_undoing_it(
    link: Link, dsn: str, migrated: str, profile: Profile
) -> None:
    result = await migrations.index(dsn, schema=migrated, profile=profile)
    assert len(result.notes) == (profile != "full")
    for note in result.notes:
        comment = note[note.index("COMMENT ON") :]
        assert comment == f"COMMENT ON TABLE {migrated}.workflow_instances IS '3'"
        await link.execute(comment)
    # With that comment there is nothing to note.
    assert (await migrations.index(dsn, schema=migrated, profile=profile)).notes == ()
