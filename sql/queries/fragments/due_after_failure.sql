-- Not before the delay after this failed attempt, the first of given.delays after the first and so
-- on; after the last of them, never.
greatest(due_at, coalesce(
    (
        clock.now + make_interval(
            secs => (string_to_array(given.delays, ','))[attempts + 1]::double precision
        )
    ) AT TIME ZONE 'UTC',
    'infinity'
))
