-- What the catalog says about a schema: one row, whatever is there. Its numbers are oids, a type of
-- which the owner of a connection has no reason to change the codec. The layout is the version of
-- HephaestusEcto's that the columns are those of, 0 if of none.
SELECT
    (to_regclass('/* schema */hephaestus_pg_migrations') IS NOT NULL)::integer::oid AS recorded,
    (found.instances IS NOT NULL)::integer::oid AS present,
    obj_description(found.instances, 'pg_class') AS comment,
    CASE
        WHEN NOT found.columns @> '{id,workflow,status,state,inserted_at,updated_at}' THEN 0
        WHEN NOT found.columns @> '{workflow_version}' THEN 1
        WHEN found.id = 'uuid'::regtype THEN 2
        ELSE 3
    END::oid AS layout
FROM (
    SELECT
        to_regclass('/* schema */workflow_instances') AS instances,
        array_agg(attname::text) FILTER (WHERE NOT attisdropped) AS columns,
        min(atttypid) FILTER (WHERE attname = 'id') AS id
    FROM pg_attribute
    WHERE attrelid = to_regclass('/* schema */workflow_instances')
) AS found
