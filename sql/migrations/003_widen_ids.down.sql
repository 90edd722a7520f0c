-- Only ids that are spelled as PostgreSQL spells a uuid are the same text after going up again.
DO $$
BEGIN
    LOCK TABLE /* schema */workflow_instances IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (
        SELECT 1 FROM /* schema */workflow_instances AS instance
        WHERE instance.id::text !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
    ) THEN
        RAISE INFO 'ids stay varchar(255): not all of them are UUIDs';
    ELSE
        ALTER TABLE /* schema */workflow_instances ALTER COLUMN id TYPE uuid USING id::uuid;
    END IF;
EXCEPTION
    WHEN undefined_table OR invalid_schema_name THEN NULL;
END
$$;
