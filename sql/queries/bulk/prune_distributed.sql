-- As prune.sql, where the table lies in several shards. Citus does not skip locked rows of several: this
-- waits for a row that somebody holds, and then looks at it again.
WITH to_delete AS (
    SELECT id
    FROM /* schema */workflow_instances
    WHERE
        id > $1::text
        AND inserted_at < $2::text::timestamp
        AND status IN ('completed', 'failed')
        AND updated_at < $2::text::timestamp
        AND ($4::text IS NULL OR workflow = $4::text)
    ORDER BY id
    LIMIT $3::text::bigint
), deleted AS (
    DELETE FROM /* schema */workflow_instances AS held
    WHERE
        id = ANY (ARRAY(SELECT to_delete.id FROM to_delete))
        AND status IN ('completed', 'failed')
        AND updated_at < $2::text::timestamp
    RETURNING held.id
)
SELECT
    count(*)::text AS found,
    (SELECT count(*) FROM deleted)::text AS deleted,
    max(id)::text AS last
FROM to_delete
