-- Ours. A writer that does not know the column leaves it alone: compare-and-set then sees only the
-- writes of those that do. The default is kept in the catalog: no row is rewritten.
ALTER TABLE /* schema */workflow_instances
    ADD COLUMN IF NOT EXISTS revision bigint NOT NULL DEFAULT 1;

-- A concurrent build that was interrupted leaves an invalid index, which IF NOT EXISTS would accept.
DO $$
DECLARE
    broken regclass;
BEGIN
    FOR broken IN
        SELECT indexrelid
        FROM pg_index
        WHERE NOT indisvalid AND indexrelid IN (
            to_regclass('/* schema */workflow_instances_workflow_family_index'),
            to_regclass('/* schema */workflow_instances_inserted_at_id_index')
        )
    LOOP
        EXECUTE 'DROP INDEX ' || broken;
    END LOOP;
END
$$;

-- A literal prefix is a range in the C collation, and in no other.
CREATE INDEX IF NOT EXISTS workflow_instances_workflow_family_index
    ON /* schema */workflow_instances (workflow COLLATE "C");

-- For pages by insertion. An update leaves both columns alone, so it may still be heap-only; an
-- index of updated_at would end that for every write, and there is none.
CREATE INDEX IF NOT EXISTS workflow_instances_inserted_at_id_index
    ON /* schema */workflow_instances (inserted_at, id);
