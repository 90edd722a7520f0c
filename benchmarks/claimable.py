"""Instances to be claimed by the statement itself, without what a runner has around it."""

from __future__ import annotations

from hephaestus_pg import _sql

CLAIMED = 50
"""Instances of one claim."""

WORKFLOWS = ("Order", "Refund", "Return")

CLAIM = _sql.statement("claim", "public", "batched")

FILL = """
INSERT INTO workflow_instances
    (id, workflow, status, state, inserted_at, updated_at, runner, due_at)
SELECT
    $1::text || number,
    ($2::text[])[1 + number % cardinality($2::text[])],
    $3,
    '{}',
    moment,
    moment,
    $4,
    $5
FROM
    generate_series(1, $6::integer) AS number,
    LATERAL (SELECT timestamp '2026-01-01' + number * interval '1 second' AS moment) AS at
"""
"""A prefix of ids, workflows in turns, status, runner, due_at, and how many."""

REGISTER = """
INSERT INTO workflow_runners
VALUES ($1::text::uuid, 'benchmark', '{}', now(), now() + interval '1 hour')
"""
