-- As claimable.sql, where the table lies in several shards: Citus joins them to no LATERAL with a
-- limit, so that each shard looks through all these workflows at once.
SELECT oldest.id
FROM (
    SELECT candidate.id
    FROM (
        (
            SELECT held.id, held.inserted_at AT TIME ZONE 'UTC' AS due
            FROM /* schema */workflow_instances AS held
            WHERE held.workflow = ANY ($2::text[])
                AND held.runner IS NULL
                AND held.due_at IS NULL
                AND held.status = ANY ('{pending,running}'::text[])
            ORDER BY held.inserted_at, held.id
            LIMIT $4::text::bigint
        )
        UNION ALL
        (
            SELECT held.id, held.due_at
            FROM /* schema */workflow_instances AS held
            WHERE held.workflow = ANY ($2::text[])
                AND held.runner IS NULL
                AND held.due_at <= statement_timestamp()
                AND held.status = ANY ('{pending,running,waiting}'::text[])
            ORDER BY held.due_at, held.id
            LIMIT $4::text::bigint
        )
    ) AS candidate
    ORDER BY candidate.due, candidate.id
    LIMIT $4::text::bigint
) AS oldest
ORDER BY random()
LIMIT $3::text::bigint
