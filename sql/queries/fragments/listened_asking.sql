-- What processes wait to be told, in one look a statement: all, where one has a row without workflows,
-- or of work, where a runner lives.
, (
    SELECT CASE WHEN bool_or(workflows = '{}') THEN 'all' WHEN count(*) > 0 THEN 'work' END
    FROM /* schema */workflow_runners
    WHERE expires_at > statement_timestamp()
) AS listened
