-- As next_due.sql, where the table lies in several shards.
SELECT held.due_at
FROM /* schema */workflow_instances AS held
WHERE held.workflow = ANY ($3::text[])
    AND /* include: is_timed */
    AND held.due_at > statement_timestamp()
    AND held.due_at < 'infinity'
ORDER BY held.due_at
LIMIT 1
