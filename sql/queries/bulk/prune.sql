-- One batch: $1 the place of the batch before, empty at first; $2 the moment; $3 the batch's size; $4 the
-- workflow, NULL for all.
-- It goes by when they were inserted, so that it reads what is old and not the whole table: what was
-- last written before a moment was inserted before it too, if all clocks agree.
-- FOR UPDATE reads a row again once it has its lock, so that one which was started again meanwhile
-- stays; a row that somebody else holds is left to the next prune.
WITH to_delete AS (
    SELECT id, inserted_at
    FROM /* schema */workflow_instances
    WHERE
        (inserted_at, id) > (
            to_timestamp(coalesce(nullif(split_part($1::text, ' ', 1), ''), '-Infinity')::float8)
            AT TIME ZONE 'UTC',
            substr($1::text, strpos($1::text, ' ') + 1)
        )
        AND inserted_at < $2::text::timestamp
        AND status IN ('completed', 'failed')
        AND updated_at < $2::text::timestamp
        AND ($4::text IS NULL OR workflow = $4::text)
    ORDER BY inserted_at, id
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
    (
        SELECT extract(epoch FROM to_delete.inserted_at) || ' ' || to_delete.id
        FROM to_delete
        ORDER BY to_delete.inserted_at DESC, to_delete.id DESC
        LIMIT 1
    ) AS last
FROM to_delete
