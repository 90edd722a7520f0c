-- Said of each table of the statement, it shows Citus that one shard has all of the rows. Its worker then runs
-- the whole statement; Citus does not lock rows of several shards.
AND held.id = ANY ($1::text[])
