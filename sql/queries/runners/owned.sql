-- What the runner $1 owns, but for the ids $2, which it knows of.
SELECT
    /* include: row */
FROM /* schema */workflow_instances
WHERE runner = $1::text::uuid AND id <> ALL ($2::text[])
