-- Before the clock moves by $1 microseconds, or NULL for back to the machine's: the leases of those who
-- live and would beat meanwhile go with it, which are the runners $2, and whoever waits for instances.
UPDATE /* schema */workflow_runners
SET expires_at = expires_at + coalesce(
    $1::text::bigint * interval '1 microsecond', - (SELECT ahead FROM hephaestus_clock.clock)
)
WHERE (token = ANY ($2::text[]::uuid[]) OR workflows = '{}') AND expires_at > statement_timestamp()
