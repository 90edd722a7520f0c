-- What processes wait to be told: all, where one has a row without workflows, or of work, where a runner
-- lives.
SELECT CASE WHEN bool_or(workflows = '{}') THEN 'all' WHEN count(*) > 0 THEN 'work' END AS listened
FROM /* schema */workflow_runners
WHERE expires_at > statement_timestamp()
