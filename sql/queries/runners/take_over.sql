-- Takes over from dead runners: what they own is nobody's again, after a failed attempt if it can be
-- claimed at all. $1 seconds to wait, as in fail.sql; $2 whether to look for runners without a row too;
-- $3 workflows, for which that is so, and of which it tells in how many seconds the next one is due.
--
-- DELETE waits for a heartbeat that is under way, and then looks again: either that is in time, or it
-- finds no row. The dead are named, rather than all but the living: a runner that registered after
-- this statement began would be none of the living. What somebody has locked, perhaps the frozen owner
-- in a transaction, is left to the next look: it keeps nobody from the rest.
WITH dead AS (
    /* include: dead */
), lost AS MATERIALIZED (
    SELECT dead.token FROM dead
    UNION
    SELECT runner
    FROM /* schema */workflow_instances
    WHERE $2::text::boolean
        AND runner IS NOT NULL
        AND runner NOT IN (SELECT token FROM /* schema */workflow_runners)
), locked AS MATERIALIZED (
    /* include: locked_of_lost */
), freed AS (
    UPDATE /* schema */workflow_instances
    SET
        runner = NULL,
        attempts = CASE WHEN /* include: is_work */ THEN attempts + 1 ELSE attempts END,
        due_at = CASE
            WHEN NOT /* include: is_work */
            THEN due_at
            WHEN workflow = ANY ($3::text[])
            THEN /* include: due_after_failure */
            ELSE /* include: due_after_a_strangers_failure */
        END,
        revision = revision + 1
    FROM
        (SELECT $1::text AS delays) AS given,
        /* include: clock */,
        locked
    WHERE id = locked_id AND runner = ANY (ARRAY(SELECT lost.token FROM lost))
    RETURNING id
)
SELECT
    count(*)::text AS freed,
    EXISTS (SELECT 1 FROM lost)::text AS found_some,
    (
        SELECT count(*) FROM /* schema */workflow_runners
        WHERE expires_at > statement_timestamp() AND workflows <> '{}'
    )::text AS runners,
    (
        SELECT extract(epoch FROM timed.due_at - statement_timestamp())
        FROM (
            /* include: next_due */
        ) AS timed
    )::text AS due
FROM freed
