-- Fills the rows that were there before the trigger. The order is that of the primary key, in which
-- batched writers lock rows too. $1 has no cast, since id may be uuid or varchar.
WITH chunk AS (
    SELECT id
    FROM /* schema */workflow_instances
    WHERE (id > $1 OR $1 IS NULL) AND hephaestus_pg_wide_id IS NULL
    ORDER BY id
    LIMIT 1000
    FOR NO KEY UPDATE
),

filled AS (
    UPDATE /* schema */workflow_instances AS instance
    SET hephaestus_pg_wide_id = instance.id::text
    FROM chunk
    WHERE instance.id = chunk.id
)

SELECT id FROM chunk ORDER BY id DESC LIMIT 1
