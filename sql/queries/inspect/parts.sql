-- $1 id, $2 the most bytes of each part of its state. The row without the parts that are larger, the bytes
-- of which are in `cut`; of a larger history its last 100 entries are there, if those are small enough.
SELECT
    /* include: row */,
    attempts::text AS attempts,
    state_bytes::oid AS state_bytes,
    cut::text AS cut
FROM (
    SELECT
        held.id, held.workflow, held.status, held.workflow_version, held.revision, held.inserted_at,
        held.updated_at, held.due_at, held.runner, held.attempts,
        pg_column_size(held.state) AS state_bytes,
        CASE
            WHEN jsonb_typeof(held.state) = 'object' THEN parts.state
            WHEN pg_column_size(held.state) <= $2::text::integer THEN held.state
            ELSE 'null'
        END AS state,
        parts.cut
    FROM /* schema */workflow_instances AS held
    CROSS JOIN LATERAL (
        SELECT
            coalesce(jsonb_object_agg(part.key, part.sent) FILTER (
                WHERE pg_column_size(part.sent) <= $2::text::integer
            ), '{}') AS state,
            coalesce(jsonb_object_agg(part.key, part.bytes) FILTER (
                WHERE part.bytes > $2::text::integer
            ), '{}') AS cut
        FROM (
            SELECT
                each.key,
                pg_column_size(each.value) AS bytes,
                CASE
                    WHEN
                        each.key = 'execution_history'
                        AND jsonb_typeof(each.value) = 'array'
                        AND pg_column_size(each.value) > $2::text::integer
                        THEN jsonb_path_query_array(each.value, '$[last - 99 to last]')
                    ELSE each.value
                END AS sent
            FROM jsonb_each(
                CASE WHEN jsonb_typeof(held.state) = 'object' THEN held.state ELSE '{}' END
            ) AS each
        ) AS part
    ) AS parts
    WHERE held.id = $1::text
) AS shown
