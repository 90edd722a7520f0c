-- The runners that live, those of longest standing first, and how many instances each owns.
WITH owned AS (
    SELECT runner, count(*) AS instances
    FROM /* schema */workflow_instances
    WHERE runner IS NOT NULL
    GROUP BY runner
)
SELECT
    token::text AS token,
    name::text AS name,
    array_to_json(workflows)::text AS workflows,
    -- A moment that a hand has set, such as infinity, is the nearest one that Python knows.
    extract(epoch FROM greatest(started_at, '0001-01-02 00:00+00'))::text AS started_at,
    extract(epoch FROM least(expires_at, '9999-12-30 00:00+00'))::text AS expires_at,
    coalesce((SELECT owned.instances FROM owned WHERE owned.runner = token), 0)::text AS owned
FROM /* schema */workflow_runners
WHERE expires_at > statement_timestamp() AND workflows <> '{}'
ORDER BY workflow_runners.started_at, workflow_runners.token
