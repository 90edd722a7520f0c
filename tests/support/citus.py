"""The tests on a Citus cluster: its tables, and the tests that cannot apply there.

``HEPHAESTUS_PG_TEST_CITUS=schema`` distributes each test's schema, ``id`` its table of instances by
id; ``HEPHAESTUS_PG_TEST_CITUS_DSN`` leads to the coordinator.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.databases import Owner

DSN = os.environ.get("HEPHAESTUS_PG_TEST_CITUS_DSN", "")
KIND = os.environ.get("HEPHAESTUS_PG_TEST_CITUS", "")

# Without it the driver looks at every type for most of a second on each new connection.
SETTINGS = {"citus.override_table_visibility": "off"}

_NO_TRIGGER = "DROP TRIGGER hephaestus_pg_raise_revision ON {}.workflow_instances"
_KINDS = {
    "": [],
    "schema": [_NO_TRIGGER, "SELECT citus_schema_distribute('{}')"],
    "id": [
        _NO_TRIGGER,
        "SELECT create_distributed_table('{}.workflow_instances', 'id', shard_count => 4)",
        "SELECT citus_add_local_table_to_metadata('{}.workflow_runners')",
    ],
}


# Citus's own definitions of tables lock each other out, and some deadlock, between nodes too.
_ONE_BY_ONE = "SELECT pg_advisory_lock(6700417)", "SELECT pg_advisory_unlock(6700417)"
_TRIES = 5


def distributing(schema: str, kind: str = KIND) -> list[str]:
    """The statements, each to be sent by itself, that distribute a migrated schema."""
    return [statement.format(schema) for statement in _KINDS[kind]]


def distribute(owner: Owner, schema: str) -> None:
    """Distributes a migrated schema, as ``HEPHAESTUS_PG_TEST_CITUS`` says."""
    _define(owner, *distributing(schema))


def drop(owner: Owner, schema: str) -> None:
    """Drops a schema. Whose sessions might be in the way is not known on a shared cluster."""
    _define(owner, f"DROP SCHEMA {schema} CASCADE")


def _define(owner: Owner, *statements: str) -> None:
    lock, unlock = _ONE_BY_ONE
    owner.execute("SET lock_timeout = 0")
    owner.execute(lock)
    try:
        owner.execute("SET lock_timeout = '60s'")
        for statement in statements:
            for tries in range(_TRIES):
                try:
                    owner.execute(statement)
                    break
                except psycopg.errors.DeadlockDetected:
                    if tries + 1 == _TRIES:
                        raise
    finally:
        owner.execute(unlock)


def coordinator() -> str:
    """The DSN of the cluster that the tests run on."""
    options = "%20".join(f"-c%20{name}%3D{value}" for name, value in SETTINGS.items())
    return f"{DSN}?options={options}"


_OF_ITS_OWN = {"database", "own_server"}

_CANNOT_APPLY: dict[str, str] = {}


def skip_what_cannot_apply(items: Iterable[pytest.Item]) -> None:
    """Skips the tests that cannot apply to a cluster, each with its reason."""
    for item in items:
        reason = next((_CANNOT_APPLY[part] for part in _CANNOT_APPLY if part in item.nodeid), None)
        if reason is None and _OF_ITS_OWN & {*getattr(item, "fixturenames", ())}:
            reason = "it has a database of its own, which is no cluster"
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
