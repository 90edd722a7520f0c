-- The rows are locked in the order in which put_many locks them.
WITH doomed AS (
    SELECT id
    FROM /* schema */workflow_instances
    WHERE id = ANY ($1::text[])
    ORDER BY id COLLATE "C"
    FOR UPDATE
)
DELETE FROM /* schema */workflow_instances AS held
USING doomed
WHERE held.id = doomed.id
RETURNING held.id
