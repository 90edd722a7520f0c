-- $1 microseconds, or NULL for what makes it the machine's clock again.
UPDATE hephaestus_clock.clock
SET ahead = coalesce(ahead + $1::text::bigint * interval '1 microsecond', '0')
