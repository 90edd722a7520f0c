-- One batch: $1 the last id of the batch before, empty at first; $2 the moment; $3 the batch's
-- size; $4 the workflow, NULL for all.
-- FOR UPDATE reads a row again once it has its lock, so that one which was started again meanwhile
-- stays; a row that somebody else holds is left to the next prune.
WITH to_delete AS (
    SELECT id
    FROM /* schema */workflow_instances
    WHERE
        id > $1::text
        AND status IN ('completed', 'failed')
        AND updated_at < $2::text::timestamp
        AND ($4::text IS NULL OR workflow = $4::text)
    ORDER BY id
    LIMIT $3::text::bigint
    FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM /* schema */workflow_instances AS held
    USING to_delete
    WHERE held.id = to_delete.id
    RETURNING held.id
)
SELECT
    count(*)::text AS found,
    (SELECT count(*) FROM deleted)::text AS deleted,
    max(id)::text AS last
FROM to_delete
