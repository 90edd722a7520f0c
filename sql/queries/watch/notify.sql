-- Sends the payloads $2 to all who listen on the channels $1, in a transaction of its own: one that
-- notifies keeps every other that does so from committing until it has committed itself, and so does
-- not wait for the disk.
SELECT
    count(pg_notify(channel, payload)::text)::text AS sent,
    set_config('synchronous_commit', 'off', true) AS unflushed
FROM unnest($1::text[], $2::text[]) AS told (channel, payload)
