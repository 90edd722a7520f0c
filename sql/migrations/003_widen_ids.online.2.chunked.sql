-- Fill what was there before the trigger, in the order of the primary key, in which batched writers
-- lock too. $1 has no cast: it is of the type of id, whatever that is.
WITH slice AS (
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
    FROM slice
    WHERE instance.id = slice.id
)

SELECT id FROM slice ORDER BY id DESC LIMIT 1
