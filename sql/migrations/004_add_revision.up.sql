-- Ours. A writer that does not know the column leaves it alone: compare-and-set then sees only the
-- writes of those that do. The default is kept in the catalog: no row is rewritten.
ALTER TABLE /* schema */workflow_instances
    ADD COLUMN IF NOT EXISTS revision bigint NOT NULL DEFAULT 1;

-- A concurrent build that was interrupted leaves an invalid index, which IF NOT EXISTS would accept.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_index
        WHERE indexrelid = to_regclass('/* schema */workflow_instances_workflow_family_index')
            AND NOT indisvalid
    ) THEN
        DROP INDEX /* schema */workflow_instances_workflow_family_index;
    END IF;
END
$$;

-- A literal prefix is a range in the C collation, and in no other.
CREATE INDEX IF NOT EXISTS workflow_instances_workflow_family_index
    ON /* schema */workflow_instances (workflow COLLATE "C");
