-- How many instances have an owner, how many of them one that is dead, and how many are given to nobody
-- any more after too many failed attempts.
SELECT
    count(*)::text AS owned,
    count(*) FILTER (WHERE held.runner NOT IN (
        SELECT token FROM /* schema */workflow_runners WHERE expires_at > statement_timestamp()
    ))::text AS orphaned,
    (
        SELECT count(*)
        FROM /* schema */workflow_instances
        WHERE due_at = 'infinity' AND runner IS NULL AND attempts > 0
    )::text AS exhausted
FROM /* schema */workflow_instances AS held
WHERE held.runner IS NOT NULL
