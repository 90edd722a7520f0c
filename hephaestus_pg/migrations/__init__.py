"""Brings a schema to a version, from Python: results are returned, nothing is printed.

::

    result = await migrations.up("postgresql://…", schema="tenant_a")
    result.from_version, result.to_version      # 0, 6
    [step.name for step in result.steps]        # ['create_workflow_instances', …]

Versions 1, 2, 3 are those of HephaestusEcto, and a database that it migrated is taken over as it
is. Applied versions are recorded in ``hephaestus_pg_migrations``, a table in the same schema. The
comment in which HephaestusEcto keeps its version is read and never written.

``distribute`` moves a schema's tables to the workers of a Citus cluster, ``undistribute`` back;
what is there is migrated as any other.

Migrate over a connection to the server itself: the lock belongs to a session, which a pooler in
transaction mode does not have.

Inside, ``reading`` holds the public functions that change nothing; ``engine``, ``profiles`` and
``distribution`` hold those that take steps, over a session that holds the schema's lock. It knows
no instance, no storage and no command.
"""

from hephaestus_pg.migrations.distribution import (
    DistributedBy,
    distribute,
    plan_distribute,
    plan_undistribute,
    undistribute,
)
from hephaestus_pg.migrations.engine import LATEST, down, up
from hephaestus_pg.migrations.planning import ONLINE_ABOVE
from hephaestus_pg.migrations.profiles import REWRITE_UP_TO, index
from hephaestus_pg.migrations.reading import migrated_version, plan, status
from hephaestus_pg.migrations.results import (
    Difference,
    Distribution,
    DistributionPlan,
    DistributionResult,
    IndexResult,
    MigrationPlan,
    MigrationResult,
    MigrationStatus,
    PlannedStep,
    Profile,
    SchemaStatus,
    Step,
)
from hephaestus_pg.migrations.scripts import script as sql

__all__ = [
    "LATEST",
    "ONLINE_ABOVE",
    "REWRITE_UP_TO",
    "Difference",
    "DistributedBy",
    "Distribution",
    "DistributionPlan",
    "DistributionResult",
    "IndexResult",
    "MigrationPlan",
    "MigrationResult",
    "MigrationStatus",
    "PlannedStep",
    "Profile",
    "SchemaStatus",
    "Step",
    "distribute",
    "down",
    "index",
    "migrated_version",
    "plan",
    "plan_distribute",
    "plan_undistribute",
    "sql",
    "status",
    "undistribute",
    "up",
]
