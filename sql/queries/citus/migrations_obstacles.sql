-- What keeps Citus from distributing these tables, or from taking that back. $1 by what: id or schema.
WITH ours AS (
    SELECT oid AS relid, reltype, relname, relpersistence
    FROM pg_class
    WHERE oid IN (
        to_regclass('/* schema */workflow_instances'),
        to_regclass('/* schema */workflow_runners'),
        to_regclass('/* schema */hephaestus_pg_migrations')
    )
)

SELECT 'trigger'::text AS kind, (tgname || ' on ' || relname)::text AS name
FROM pg_trigger
JOIN ours ON relid = tgrelid
WHERE NOT tgisinternal AND tgname <> 'hephaestus_pg_raise_revision'

UNION ALL
SELECT 'foreign key', conname || ' of ' || conrelid::regclass::text
FROM pg_constraint
WHERE contype = 'f'
    AND (conrelid IN (SELECT relid FROM ours) OR confrelid IN (SELECT relid FROM ours))

UNION ALL
SELECT 'rule', rulename || ' on ' || relname
FROM pg_rewrite
JOIN ours ON relid = ev_class

-- Citus drops the old table with all that depends on it, and makes nothing again but views: no function
-- that takes or gives a row or was parsed with the table, and no column of that type.
UNION ALL
SELECT 'dependent', pg_describe_object(classid, objid, objsubid)
FROM pg_depend
WHERE deptype = 'n'
    AND classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_type'::regclass)
    AND (
        refclassid = 'pg_type'::regclass
        AND refobjid IN (
            SELECT pg_type.oid FROM pg_type
            JOIN ours ON pg_type.oid = reltype OR typelem = reltype
        )
        OR refclassid = 'pg_class'::regclass
        AND classid = 'pg_proc'::regclass
        AND refobjid IN (SELECT relid FROM ours)
    )

UNION ALL
SELECT 'inheritance', inhrelid::regclass || ' from ' || inhparent::regclass
FROM pg_inherits
WHERE inhrelid IN (SELECT relid FROM ours) OR inhparent IN (SELECT relid FROM ours)

UNION ALL
SELECT 'identity', attname || ' of ' || relname
FROM pg_attribute
JOIN ours ON relid = attrelid
WHERE attidentity <> '' AND NOT attisdropped

UNION ALL
SELECT 'row security', relname
FROM ours
WHERE row_security_active(relid)

UNION ALL
SELECT 'unlogged', relname
FROM ours
WHERE relpersistence = 'u' AND $1::text = 'id'

UNION ALL
SELECT 'unique index', indexrelid::regclass::text
FROM pg_index
WHERE $1::text = 'id'
    AND indrelid = to_regclass('/* schema */workflow_instances')
    AND indisunique
    AND NOT EXISTS (
        SELECT 1 FROM pg_attribute
        WHERE attrelid = indrelid AND attname = 'id' AND attnum = ANY (indkey)
    )

-- With a schema go all of its tables. Those that Citus made for ours are not meant.
UNION ALL
SELECT 'table', relname
FROM pg_class
WHERE $1::text = 'schema'
    AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = btrim('/* schema */', '".'))
    AND relkind IN ('r', 'p', 'f')
    AND oid NOT IN (SELECT relid FROM ours)
    AND relname !~ '^(workflow_instances|workflow_runners|hephaestus_pg_migrations)_\d+$'
ORDER BY 1, 2
