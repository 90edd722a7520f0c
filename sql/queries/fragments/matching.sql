-- The rows that every given filter lets through; a filter that is NULL lets all through.
-- $1 id, $2 statuses in order, $3 workflow, $4 workflow_version, $5 and $6 the bounds of the
-- workflow's prefix, $7 contained state, $8 to $11 the bounds of inserted_at and updated_at, $12 the
-- runner or '' for none, $13 the bound of due_at.
--
-- Every branch is the whole table, named for the index that is to drive it. Within it the planner
-- knows `driver`, so that `status = ... OR driver <> 'status' AND ...` is a plain condition on status
-- there. CASE keeps one branch: even a generic plan, made before the filters are known, reads by
-- the right index; a custom plan drops the other branches and is free to choose a better one.
SELECT id, workflow, status, workflow_version, state, revision, inserted_at, updated_at, due_at, runner, attempts
FROM (
    SELECT 'id' AS driver, /* include: stored_columns */ FROM /* schema */workflow_instances
    UNION ALL
    SELECT 'runner', /* include: stored_columns */ FROM /* schema */workflow_instances
    UNION ALL
    SELECT 'contains', /* include: stored_columns */ FROM /* schema */workflow_instances
    UNION ALL
    SELECT 'workflow', /* include: stored_columns */ FROM /* schema */workflow_instances
    UNION ALL
    SELECT 'family', /* include: stored_columns */ FROM /* schema */workflow_instances
    UNION ALL
    SELECT 'due', /* include: stored_columns */ FROM /* schema */workflow_instances
    UNION ALL
    SELECT 'status', /* include: stored_columns */ FROM /* schema */workflow_instances
    UNION ALL
    SELECT 'version', /* include: stored_columns */ FROM /* schema */workflow_instances
    UNION ALL
    SELECT 'none', /* include: stored_columns */ FROM /* schema */workflow_instances
) AS driven
WHERE driver = CASE
        WHEN $1::text IS NOT NULL THEN 'id'
        WHEN $12::text <> '' THEN 'runner'
        WHEN $7::text IS NOT NULL THEN 'contains'
        WHEN $3::text IS NOT NULL THEN 'workflow'
        WHEN $5::text IS NOT NULL THEN 'family'
        WHEN $13::text IS NOT NULL THEN 'due'
        WHEN $2::text[] IS NOT NULL THEN 'status'
        WHEN $4::text IS NOT NULL THEN 'version'
        ELSE 'none'
    END
    AND (id = $1::text OR driver <> 'id' AND $1::text IS NULL)
    AND (status = ANY ($2::text[]) OR driver <> 'status' AND $2::text[] IS NULL)
    -- Also as a range: of an array that it does not know the planner thinks that it is everything.
    AND (
        status BETWEEN ($2::text[])[1] AND ($2::text[])[cardinality($2::text[])]
        OR driver <> 'status'
    )
    AND (workflow = $3::text OR driver <> 'workflow' AND $3::text IS NULL)
    AND (workflow_version = $4::text::integer OR driver <> 'version' AND $4::text IS NULL)
    AND (workflow COLLATE "C" >= $5::text OR driver <> 'family' AND $5::text IS NULL)
    AND (workflow COLLATE "C" < $6::text OR driver <> 'family' AND $6::text IS NULL)
    AND (/* include: contained */ OR driver <> 'contains' AND $7::text IS NULL)
    AND (
        runner = nullif($12::text, '')::uuid
        OR driver <> 'runner' AND ($12::text IS NULL OR $12::text = '' AND runner IS NULL)
    )
    AND (due_at < $13::text::timestamptz OR driver <> 'due' AND $13::text IS NULL)
    AND ($8::text IS NULL OR inserted_at < $8::text::timestamp)
    AND ($9::text IS NULL OR inserted_at > $9::text::timestamp)
    AND ($10::text IS NULL OR updated_at < $10::text::timestamp)
    AND ($11::text IS NULL OR updated_at > $11::text::timestamp)
