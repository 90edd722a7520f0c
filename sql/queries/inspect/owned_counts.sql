-- How many instances have an owner, how many of them one that is dead, and how many are given to nobody
-- any more after too many failed attempts. They are counted apart, as Citus takes no other table where
-- shards count.
WITH owned AS (
    SELECT runner, count(*) AS instances
    FROM /* schema */workflow_instances
    WHERE runner IS NOT NULL
    GROUP BY runner
), living AS (
    SELECT token FROM /* schema */workflow_runners WHERE expires_at > statement_timestamp()
), exhausted AS (
    SELECT count(*) AS instances
    FROM /* schema */workflow_instances
    WHERE due_at = 'infinity' AND runner IS NULL AND attempts > 0
)
SELECT
    coalesce(sum(owned.instances), 0)::text AS owned,
    coalesce(sum(owned.instances) FILTER (WHERE living.token IS NULL), 0)::text AS orphaned,
    (SELECT exhausted.instances FROM exhausted)::text AS exhausted
FROM owned
LEFT JOIN living ON living.token = owned.runner
