-- Of a workflow that the runner which takes over does not run, so that it does not know its settings: after
-- two seconds, four and so on, five minutes at the most, never for good.
greatest(
    due_at,
    (clock.now + make_interval(secs => least(2 ^ least(attempts + 1, 9), 300))) AT TIME ZONE 'UTC'
)
