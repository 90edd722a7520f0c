-- The moment by the session's clock, and whether that is the one that tests move.
SELECT
    extract(epoch FROM statement_timestamp())::text AS now,
    coalesce(
        to_regprocedure('statement_timestamp()')
        = to_regprocedure('hephaestus_clock.statement_timestamp()'),
        false
    )::text AS is_moved
