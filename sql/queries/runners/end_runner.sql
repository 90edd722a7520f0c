-- The runner $1 ends, and gives back all that it owns.
WITH ended AS (
    DELETE FROM /* schema */workflow_runners WHERE token = $1::text::uuid
), freed AS (
    UPDATE /* schema */workflow_instances
    SET runner = NULL, revision = revision + 1
    WHERE runner = $1::text::uuid
    RETURNING id
)
SELECT count(*)::text AS freed FROM freed
