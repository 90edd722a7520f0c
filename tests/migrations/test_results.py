from __future__ import annotations

import pytest

from hephaestus_pg.migrations import Difference, MigrationStatus, SchemaStatus

pytestmark = pytest.mark.quick


def test_pending_is_what_up_would_apply() -> None:
    migrations = (
        MigrationStatus(1, "first", "applied", None),
        MigrationStatus(2, "second", "missing", None),
        MigrationStatus(3, "third", "changed", None),
        MigrationStatus(4, "fourth", "pending", None),
        MigrationStatus(5, "fifth", "unknown", None),
    )
    status = SchemaStatus("public", 1, migrations)
    assert [each.version for each in status.pending] == [2, 4]


def test_a_difference_is_printed_with_what_mends_it() -> None:
    assert str(Difference("the key is gone", "run: up")) == "the key is gone; run: up"
