-- The catalog's view of a schema, always one row. $1 the columns that we know, by commas, $2 the schema: planning
-- this takes ten times as long as running it, and a process with many schemas plans it once.
-- Numbers are oids, since no owner of a connection has a reason to change the codec of that type. layout is
-- HephaestusEcto's version with these columns, 0 for none; columns are "name type", one a line.
-- to_regclass sees what others commit while this statement runs, but the rest of it does not: so a
-- table counts once pg_class has it.
SELECT
    current_database()::text AS database,
    (EXISTS (
        SELECT 1 FROM pg_class WHERE oid = to_regclass(format('%I.hephaestus_pg_migrations', $2::text))
    ))::integer::oid AS recorded,
    (EXISTS (
        SELECT 1 FROM pg_namespace WHERE nspname = $2::text
    ))::integer::oid AS schema_present,
    (found.instances IS NOT NULL)::integer::oid AS present,
    (SELECT relkind::text FROM pg_class WHERE oid = found.instances) AS kind,
    obj_description(found.instances, 'pg_class') AS comment,
    CASE
        WHEN found.originals < 6 THEN 0
        WHEN found.columns !~ '(^|\n)workflow_version ' THEN 1
        WHEN found.columns ~ '(^|\n)id uuid' THEN 2
        ELSE 3
    END::oid AS layout,
    coalesce(found.columns, '') AS columns,
    (EXISTS (
        SELECT 1 FROM pg_index WHERE indrelid = found.instances AND indisprimary
    ))::integer::oid AS has_key,
    -- ON CONFLICT (id) needs one.
    (EXISTS (
        SELECT 1
        FROM pg_index
        JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indrelid = found.instances
            AND attname = 'id'
            AND indnkeyatts = 1
            AND indisunique
            AND indimmediate
            AND indisvalid
            AND indpred IS NULL
    ))::integer::oid AS has_unique_id,
    (EXISTS (
        SELECT 1 FROM pg_trigger
        WHERE tgrelid = found.instances
            AND tgname = 'hephaestus_pg_raise_revision'
            AND tgenabled IN ('O', 'A')
    ))::integer::oid AS has_trigger,
    (EXISTS (
        SELECT 1
        FROM pg_attrdef
        JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
        WHERE adrelid = found.instances
            AND attname = 'revision'
            -- pg_get_expr would wait for a lock of the table.
            AND adbin::text ~ (':funcid ' || 'pg_catalog.clock_timestamp()'::regprocedure::oid || ' ')
    ))::integer::oid AS has_default,
    (EXISTS (
        SELECT 1 FROM pg_class WHERE oid = to_regclass(format('%I.workflow_runners', $2::text))
    ))::integer::oid AS has_runners,
    (EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus'))::integer::oid AS may_be_distributed,
    current_setting('server_encoding')::text AS server_encoding,
    current_setting('client_encoding')::text AS client_encoding
FROM (
    SELECT
        named.instances,
        -- With quote_all_identifiers some types are in quotes.
        string_agg(attname || ' ' || replace(format_type(atttypid, NULL), '"', ''), chr(10)) AS columns,
        count(*) FILTER (
            WHERE attname IN ('id', 'workflow', 'status', 'state', 'inserted_at', 'updated_at')
        ) AS originals
    FROM (
        SELECT (
            SELECT oid FROM pg_class WHERE oid = to_regclass(format('%I.workflow_instances', $2::text))
        ) AS instances
    ) AS named
    LEFT JOIN pg_attribute
        ON attrelid = named.instances
        AND NOT attisdropped
        AND attname = ANY (string_to_array($1::text, ','))
    GROUP BY named.instances
) AS found
