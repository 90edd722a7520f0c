-- The instances that were written last, as texts for a person, and how many there are. $1 rows, $2 characters
-- of a state, one more than are shown.
SELECT
    held.id::text AS id,
    held.workflow::text AS workflow,
    held.status::text AS status,
    held.revision::text AS revision,
    held.attempts::text AS attempts,
    held.due_at::text AS due_at,
    held.updated_at::text AS updated_at,
    coalesce(owner.name, held.runner::text) AS owner,
    left(held.state::text, $2::text::integer) AS state,
    (count(*) OVER ())::text AS total
FROM /* schema */workflow_instances AS held
LEFT JOIN /* schema */workflow_runners AS owner ON owner.token = held.runner
ORDER BY held.updated_at DESC, held.id
LIMIT $1::text::integer
